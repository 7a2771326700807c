package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// figure is one thing measured beside what was promised.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Target is the most that Value may be, or with AtLeast the least. Without one the figure only informs.
	Target  *float64 `json:"target"`
	AtLeast bool     `json:"atLeast,omitempty"`
	OK      *bool    `json:"ok"`
	// Busy says that the machine had other work, and that the figure, which depends on that, says little.
	Busy    bool      `json:"busy,omitempty"`
	Samples []float64 `json:"samples"`
	// CPU is the seconds of processor time that each of what is counted took.
	CPU    float64 `json:"cpuSeconds,omitempty"`
	Note   string  `json:"note,omitempty"`
	steady bool    // other work of the machine does not change it
}

func (f *figure) judge() {
	if f.Target == nil {
		return
	}
	f.OK = new(f.Value <= *f.Target)
	if f.AtLeast {
		f.OK = new(f.Value >= *f.Target)
	}
}

// verdict is the last column of the table.
func (f figure) verdict() string {
	switch {
	case f.OK == nil:
		return "-"
	case f.Busy && !*f.OK:
		return "busy"
	case *f.OK:
		return "yes"
	}
	return "NO"
}

func (f figure) target() string {
	switch {
	case f.Target == nil:
		return "-"
	case f.AtLeast:
		return fmt.Sprintf("≥ %g %s", *f.Target, f.Unit)
	}
	return fmt.Sprintf("≤ %g %s", *f.Target, f.Unit)
}

func printTable(out io.Writer, all []figure) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tmeasured\ttarget\tok\t")
	for _, f := range all {
		fmt.Fprintf(w, "%s\t%.4g %s\t%s\t%s\t%s\n", f.Name, f.Value, f.Unit, f.target(), f.verdict(), f.Note)
	}
	w.Flush()
}

func writeJSON(path string, all []figure) error {
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// median of at least one sample.
func median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// medianFigure is a figure whose value is the median of its samples.
func medianFigure(name, unit string, target float64, samples []float64) figure {
	f := figure{Name: name, Unit: unit, Value: median(samples), Samples: samples}
	if target > 0 {
		f.Target = &target
	}
	f.Note = fmt.Sprintf("median of %d, %.3g to %.3g", len(samples), slices.Min(samples), slices.Max(samples))
	return f
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
