package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// updateOptions are the flags of update as typed.
type updateOptions struct {
	specFlags
	rollback bool
}

func (o *updateOptions) addFlags(cmd *cobra.Command) {
	o.changes = true
	o.addCommon(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.rollback, "rollback", false, "take back the last update, as piswarm rollback does")
	image := f.String("image", "", "`image`, whose name is resolved anew")
	o.on(func() (change, error) {
		named, err := normalise(*image)
		return func(s *cluster.Spec) error {
			s.Container.Image, s.Container.Digest, s.Container.Platforms = named.String(), "", nil
			return nil
		}, err
	}, "image")
	parsed(&o.specFlags, "args", f.String("args", "", "`command` in place of the image's, also several words"),
		splitFlag("--args"), func(s *cluster.Spec) *[]string { return &s.Container.Args })
	force := f.Bool("force", false, "replace all tasks, though nothing else changes")
	o.on(func() (change, error) {
		return func(s *cluster.Spec) error {
			if *force {
				s.Force++
			}
			return nil
		}, nil
	}, "force")
	o.addLists()
}

// change is what the flags do.
func (o *updateOptions) change() (change, error) {
	switch {
	case o.rollback && o.given():
		return nil, errors.New("--rollback takes back what was changed and changes nothing else: leave out the other options")
	case !o.rollback && !o.given():
		return nil, errors.New("nothing to change: say what, for example --image greeter:2, or --force to replace all tasks")
	}
	return o.read()
}

func (o *updateOptions) addLists() {
	addLabels(o, "label", "label of the service", func(s *cluster.Spec) *map[string]string { return &s.Labels })
	addLabels(o, "container-label", "label of its containers", func(s *cluster.Spec) *map[string]string { return &s.Container.Labels })
	o.addPorts()
	o.addCapabilities()
	edit[string]{
		flag: "env", what: "environment variable",
		add: "add or change an environment variable, `NAME=VALUE`, or NAME to take it from here", rm: "remove an environment variable by its `name`",
		parse: func(v string) (string, error) { return cluster.ParseEnv(v, os.LookupEnv) },
		key: func(v string) string {
			name, _, _ := strings.Cut(v, "=")
			return name
		},
		at: func(s *cluster.Spec) *[]string { return &s.Container.Env },
	}.addTo(o)
	edit[cluster.Mount]{
		flag: "mount", what: "mount at",
		add: "add or change a `mount`, type=bind|volume|tmpfs,source=…,target=…[,readonly]", rm: "remove a mount by its `target`",
		parse: cluster.ParseMount, parseKey: cleanPath,
		key: func(m cluster.Mount) string { return path.Clean(m.Target) },
		at:  func(s *cluster.Spec) *[]cluster.Mount { return &s.Container.Mounts },
	}.addTo(o)
	secrets().addEditTo(o)
	configs().addEditTo(o)
	edit[cluster.Device]{
		flag: "device", what: "device",
		add: "add or change a device of the node, `HOST[:CONTAINER[:rwm]]`", rm: "remove a device by its `path` in the container",
		parse: cluster.ParseDevice, parseKey: cleanPath,
		key: func(d cluster.Device) string { return path.Clean(d.Container) },
		at:  func(s *cluster.Spec) *[]cluster.Device { return &s.Container.Devices },
	}.addTo(o)
	edit[cluster.Constraint]{
		flag: "constraint", what: "constraint",
		add: "run only where `node.labels.KEY==VALUE` holds, or !=", rm: "remove a `constraint`",
		parse: cluster.ParseConstraint, key: cluster.Constraint.String,
		parseKey: func(v string) (string, error) {
			c, err := cluster.ParseConstraint(v)
			return c.String(), err
		},
		at: func(s *cluster.Spec) *[]cluster.Constraint { return &s.Placement.Constraints },
	}.addTo(o)
	edit[string]{
		flag: "placement-pref", what: "placement preference",
		add: "spread tasks evenly over a label's values, `spread=node.labels.KEY`", rm: "remove a placement preference, `spread=node.labels.KEY`",
		parse: cluster.ParseSpread, parseKey: cluster.ParseSpread,
		key: func(v string) string { return v },
		at:  func(s *cluster.Spec) *[]string { return &s.Placement.Spread },
	}.addTo(o)
}

func cleanPath(v string) (string, error) { return path.Clean(v), nil }

// edit is a pair of flags, -add and -rm, that change a list of the spec whose elements go by a key.
type edit[T any] struct {
	flag, what, add, rm string
	parse               func(string) (T, error)
	parseKey            func(string) (string, error) // nil: the key as it stands
	key                 func(T) string
	at                  func(*cluster.Spec) *[]T
}

// addTo adds the flags. What is removed goes first, so that one command can put another in its place.
func (e edit[T]) addTo(o *updateOptions) {
	if e.parseKey == nil {
		e.parseKey = func(v string) (string, error) { return v, nil }
	}
	listed(&o.specFlags, e.flag+"-rm", o.flags.StringArray(e.flag+"-rm", nil, e.rm), e.parseKey, func(s *cluster.Spec, keys []string) error {
		for _, key := range keys {
			i := slices.IndexFunc(*e.at(s), func(v T) bool { return e.key(v) == key })
			if i < 0 {
				return e.missing(key, *e.at(s))
			}
			*e.at(s) = slices.Delete(*e.at(s), i, i+1)
		}
		return nil
	})
	listed(&o.specFlags, e.flag+"-add", o.flags.StringArray(e.flag+"-add", nil, e.add), e.parse, func(s *cluster.Spec, values []T) error {
		for _, v := range values {
			if i := slices.IndexFunc(*e.at(s), func(old T) bool { return e.key(old) == e.key(v) }); i >= 0 {
				(*e.at(s))[i] = v
			} else {
				*e.at(s) = append(*e.at(s), v)
			}
		}
		return nil
	})
}

func (e edit[T]) missing(key string, have []T) error {
	keys := make([]string, len(have))
	for i, v := range have {
		keys[i] = e.key(v)
	}
	return missing(e.what, key, keys)
}

// missing says that what is to be removed is not there, and what is.
func missing(what, key string, have []string) error {
	if len(have) == 0 {
		return fmt.Errorf("it has no %s %s, and none at all", what, key)
	}
	return fmt.Errorf("it has no %s %s, only %s", what, key, enumerate(have))
}

// addLabels adds a pair of flags that change labels.
func addLabels(o *updateOptions, flag, what string, at func(*cluster.Spec) *map[string]string) {
	rm := o.flags.StringArray(flag+"-rm", nil, "remove a "+what+" by its `key`")
	o.on(func() (change, error) {
		return func(s *cluster.Spec) error {
			for _, key := range *rm {
				if _, ok := (*at(s))[key]; !ok {
					return missing(strings.ReplaceAll(flag, "-", " "), key, slices.Sorted(maps.Keys(*at(s))))
				}
				delete(*at(s), key)
			}
			return nil
		}, nil
	}, flag+"-rm")
	add := o.flags.StringArray(flag+"-add", nil, "add or change a "+what+", `KEY[=VALUE]`")
	o.on(func() (change, error) {
		all, err := labels("--"+flag+"-add", *add)
		return func(s *cluster.Spec) error {
			if *at(s) == nil {
				*at(s) = map[string]string{}
			}
			maps.Copy(*at(s), all)
			return nil
		}, err
	}, flag+"-add")
}
