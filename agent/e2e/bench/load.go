package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// load is a way to ask a web server as fast as it answers.
type load struct {
	name string
	argv []string // without the URL
	// rounds is how often each way is measured, in turn with the others.
	rounds int
	// rate and requests find in what the program says how many it made a second, and in all.
	rate, requests *regexp.Regexp
}

var (
	wrkRate, wrkRequests = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`), regexp.MustCompile(`([0-9]+) requests in `)
	abRate, abRequests   = regexp.MustCompile(`Requests per second:\s+([0-9.]+)`), regexp.MustCompile(`Complete requests:\s+([0-9]+)`)

	// Two threads and enough connections keep two processors busy; with fewer, what is measured is how soon an idle
	// one wakes up.
	keepAlive = load{"requests with keep-alive", []string{"wrk", "-t2", "-c32", "-d2s"}, 7, wrkRate, wrkRequests}
	newEach   = load{"new connections", []string{"wrk", "-t2", "-c32", "-d2s", "-H", "Connection: close"}, 9, wrkRate, wrkRequests}
	// A thousand requests are over before a machine that does something else for a moment is fair again.
	classic = load{"ab -c 10 -n 1000", []string{"ab", "-q", "-c", "10", "-n", "1000"}, 25, abRate, abRequests}
)

// troubles find what went wrong in what the programs say.
var troubles = []*regexp.Regexp{
	regexp.MustCompile(`Socket errors: .*`), regexp.MustCompile(`Non-2xx or 3xx responses: .*`), regexp.MustCompile(`Failed requests: +[1-9].*`),
}

// outcome is what one go of a load came to.
type outcome struct {
	rate, requests float64
	cpu            float64 // seconds of processor time of the whole machine
	trouble        string
}

// measure carries out a load on the host of a function that runs a command there.
func (l load) measure(on func(argv ...string) (string, error), url string) (outcome, error) {
	before, err := machineTime()
	if err != nil {
		return outcome{}, err
	}
	out, err := on(append(append([]string{}, l.argv...), url)...)
	if err != nil {
		return outcome{}, err
	}
	after, err := machineTime()
	if err != nil {
		return outcome{}, err
	}
	r := outcome{cpu: after - before}
	for _, part := range []struct {
		in  *regexp.Regexp
		out *float64
	}{{l.rate, &r.rate}, {l.requests, &r.requests}} {
		m := part.in.FindStringSubmatch(out)
		if m == nil {
			return outcome{}, fmt.Errorf("%s says no %s: %s", l.argv[0], part.in, out)
		}
		if *part.out, err = strconv.ParseFloat(m[1], 64); err != nil {
			return outcome{}, fmt.Errorf("%s: %w", l.argv[0], err)
		}
	}
	for _, t := range troubles {
		if found := t.FindString(out); found != "" {
			r.trouble = join(r.trouble, strings.Join(strings.Fields(found), " "))
		}
	}
	return r, nil
}

// rateFigure is the median rate of some goes, with the processor time that a request took.
func rateFigure(name string, goes []outcome) figure {
	var rates []float64
	var cpu, requests float64
	trouble := ""
	for _, r := range goes {
		rates = append(rates, r.rate)
		cpu, requests = cpu+r.cpu, requests+r.requests
		if r.trouble != "" {
			trouble = r.trouble
		}
	}
	f := medianFigure(name, "1/s", 0, rates)
	f.CPU = cpu / requests
	f.Note = join(f.Note, fmt.Sprintf("%.0f µs of processor each", 1e6*f.CPU))
	if trouble != "" {
		f.Note = join(f.Note, trouble)
	}
	return f
}

// ratioFigure compares two medians, and shows each round's ratio as a sample. With least 0 it only informs.
func ratioFigure(name string, least float64, a, b figure) figure {
	f := figure{Name: name, Unit: "×", Value: a.Value / b.Value, AtLeast: true}
	if least > 0 {
		f.Target = &least
	}
	for i := range a.Samples {
		f.Samples = append(f.Samples, a.Samples[i]/b.Samples[i])
	}
	return f
}

// machineTime is how many seconds the machine's processors have worked, all together.
func machineTime() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(first) // cpu user nice system idle iowait irq softirq …
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", first)
	}
	const ticks = 100 // a second, on every kind of Linux that Go runs on
	sum := 0.0
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		sum += n
	}
	return sum / ticks, nil
}
