package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"

	"github.com/spf13/cobra"
)

// column is one column of a list: what docker's templates call it, its heading, and its cell for a row.
type column[T any] struct {
	name, header string
	cell         func(T) string
	hidden       bool // not in the plain table, for templates only
}

// listOptions are the flags that every list has.
type listOptions struct {
	format  string
	quiet   bool
	noTrunc bool
	filters []string
}

// addListFlags adds the flags of a list; keys are those that --filter knows.
func addListFlags(cmd *cobra.Command, o *listOptions, what string, keys []string) {
	f := cmd.Flags()
	f.StringVar(&o.format, "format", "table", "`format`, table, json, or a Go template, also after the word table")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only "+what)
	f.BoolVar(&o.noTrunc, "no-trunc", false, "do not shorten the output")
	f.StringArrayVarP(&o.filters, "filter", "f", nil, "print only what matches `KEY=VALUE`, KEY one of "+strings.Join(keys, ", "))
	completeFlag(cmd, "format", "table", "json")
}

// list is how one kind of things is printed.
type list[T any] struct {
	columns []column[T]
	id      func(T) string // what --quiet prints
	fill    func(T) T      // leaves no null in the JSON; nil where there can be none
}

// print writes the rows in the form that the options ask for.
func (l list[T]) print(w io.Writer, o listOptions, rows []T) error {
	var out bytes.Buffer
	var err error
	switch {
	case o.quiet:
		for _, row := range rows {
			fmt.Fprintln(&out, l.id(row))
		}
	case o.format == "json":
		if l.fill != nil {
			rows = filledEach(rows, l.fill)
		}
		err = writeJSON(&out, rows)
	case o.format == "table":
		l.table(&out, rows)
	default:
		err = l.template(&out, o.format, rows)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(out.Bytes())
	return err
}

// alignedTo returns a writer of lines whose tab-separated fields are aligned as docker's are, and the function that
// ends it. Empty last fields leave no blanks at the end of a line.
func alignedTo(w *bytes.Buffer) (io.Writer, func()) {
	var lines bytes.Buffer
	tw := tabwriter.NewWriter(&lines, 0, 1, 3, ' ', 0)
	return tw, func() {
		tw.Flush()
		for line := range strings.Lines(lines.String()) {
			w.WriteString(strings.TrimRight(line, " \n") + "\n")
		}
	}
}

func (l list[T]) table(w *bytes.Buffer, rows []T) {
	tw, flush := alignedTo(w)
	defer flush()
	cells := make([]string, 0, len(l.columns))
	write := func(cell func(column[T]) string) {
		cells = cells[:0]
		for _, c := range l.columns {
			if !c.hidden {
				cells = append(cells, cell(c))
			}
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	write(func(c column[T]) string { return c.header })
	for _, row := range rows {
		write(func(c column[T]) string { return oneLine(c.cell(row)) })
	}
}

// template prints each row by a template over its columns' names. With "table " in front, a line of headings comes
// first and the fields, which a tab separates, are aligned.
func (l list[T]) template(w *bytes.Buffer, format string, rows []T) error {
	text, aligned := strings.CutPrefix(format, "table ")
	// A shell's single quotes keep \t and \n as two characters each; docker's users type them so.
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	tmpl, err := newTemplate(text)
	if err != nil {
		return err
	}
	var out io.Writer = w
	if aligned {
		tw, flush := alignedTo(w)
		defer flush()
		out = tw
	}
	line := func(cell func(column[T]) string) error {
		fields := make(map[string]string, len(l.columns))
		for _, c := range l.columns {
			fields[c.name] = cell(c)
		}
		if err := tmpl.Execute(out, fields); err != nil {
			return templateError(err)
		}
		_, err := io.WriteString(out, "\n")
		return err
	}
	if aligned {
		if err := line(func(c column[T]) string { return c.header }); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if err := line(func(c column[T]) string { return oneLine(c.cell(row)) }); err != nil {
			return err
		}
	}
	return nil
}

// newTemplate reads a template with the functions that docker's have and that a list needs. A field that does not
// exist is an error.
func newTemplate(text string) (*template.Template, error) {
	tmpl, err := template.New("format").Option("missingkey=error").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			err := enc.Encode(v)
			return strings.TrimSpace(b.String()), err
		},
		"join":  func(list []string, sep string) string { return strings.Join(list, sep) },
		"lower": strings.ToLower,
		"split": strings.Split,
		"upper": strings.ToUpper,
	}).Parse(text)
	if err != nil {
		return nil, templateError(err)
	}
	return tmpl, nil
}

func templateError(err error) error {
	return fmt.Errorf("--format: %s", strings.TrimPrefix(err.Error(), "template: format:"))
}

// writeJSON writes v on one line. Characters that only HTML would need escaped stay as they are.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
