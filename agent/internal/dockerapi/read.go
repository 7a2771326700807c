package dockerapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// read reads a JSON body. A field that is not known would be without effect, and is refused.
func read[T any](r *http.Request) (T, error) {
	var v T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return v, err
		}
		return v, badRequest("the body of the request is not well formed: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, badRequest("the body of the request goes on after its end")
	}
	return v, nil
}

// switched reads a part of the query that is on or off; left out, it is off.
func switched(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, badRequest("%s=%s: want true or false", name, text)
	}
	return on, nil
}

// number reads a part of the query that is a number.
func number(r *http.Request, name string, otherwise int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, badRequest("%s=%s: want a number", name, text)
	}
	return n, nil
}

// filters are the values that a list is narrowed to, by what they are of.
type filters map[string][]string

// readFilters reads the filters of a request, and refuses those that are not known: the list would not be what was asked for.
func readFilters(r *http.Request, known ...string) (filters, error) {
	text := r.URL.Query().Get("filters")
	if text == "" {
		return nil, nil
	}
	f, err := parseFilters(text)
	if err != nil {
		return nil, err
	}
	for name := range f {
		if !slices.Contains(known, name) {
			return nil, badRequest("invalid filter %q: want one of %s", name, strings.Join(known, ", "))
		}
	}
	return f, nil
}

// parseFilters reads filters in their form of today, {"name":{"web":true}}, or in the earlier one, {"name":["web"]}.
func parseFilters(text string) (filters, error) {
	var maps map[string]map[string]bool
	if json.Unmarshal([]byte(text), &maps) == nil {
		f := filters{}
		for name, values := range maps {
			for value, on := range values {
				if on {
					f[name] = append(f[name], value)
				}
			}
			slices.Sort(f[name])
		}
		return f, nil
	}
	var f filters
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return nil, badRequest("the filters are not well formed: %v", err)
	}
	return f, nil
}

// any tells whether a value of the filter passes, or there is none.
func (f filters) any(name string, pass func(value string) bool) bool {
	return len(f[name]) == 0 || slices.ContainsFunc(f[name], pass)
}

// equal tells whether the value is one that is asked for.
func (f filters) equal(name, value string) bool {
	return f.any(name, func(v string) bool { return v == value })
}

// prefix tells whether the value begins as one that is asked for.
func (f filters) prefix(name, value string) bool {
	return f.any(name, func(v string) bool { return strings.HasPrefix(value, v) })
}

// labels tells whether all labels are there that are asked for, as KEY or KEY=VALUE.
func (f filters) labels(name string, labels map[string]string) bool {
	return !slices.ContainsFunc(f[name], func(want string) bool {
		key, value, hasValue := strings.Cut(want, "=")
		got, ok := labels[key]
		return !ok || hasValue && got != value
	})
}

// switch reads a filter that is true or false.
func (f filters) switched(name string) (on, given bool, err error) {
	if len(f[name]) == 0 {
		return false, false, nil
	}
	on, err = strconv.ParseBool(f[name][0])
	if err != nil || len(f[name]) > 1 {
		return false, true, badRequest("invalid filter '%s=%s': want true or false", name, strings.Join(f[name], ","))
	}
	return on, true, nil
}

// refuseQuery refuses parts of the query that would be without effect.
func refuseQuery(query url.Values, why string, names ...string) error {
	for _, name := range names {
		if v := query.Get(name); v != "" && v != "0" && v != "false" {
			return unsupported("%s=%s: %s", name, v, why)
		}
	}
	return nil
}

// signsIn tells whether a header of registry authentication has anything in it; docker's client sends an empty one.
func signsIn(header string) bool {
	raw, err := base64.URLEncoding.DecodeString(header)
	if err != nil {
		raw, err = base64.RawURLEncoding.DecodeString(header)
	}
	var auth map[string]any
	if err != nil || json.Unmarshal(raw, &auth) != nil {
		return true
	}
	for key, value := range auth {
		if text, ok := value.(string); ok && text != "" && !strings.EqualFold(key, "serveraddress") {
			return true
		}
	}
	return false
}
