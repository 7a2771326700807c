// Package browsertest looks at the page with a real browser: headless Chromium. Only tests import it.
package browsertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser is a Chromium with one tab.
type Browser struct {
	t   testing.TB
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// stepTime bounds each step.
const stepTime = 30 * time.Second

// Open starts a browser, and ends it with the test, which fails if the page's console had an error by then.
func Open(t testing.TB) *Browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, // which root has not
		chromedp.DisableGPU, chromedp.WindowSize(1280, 900), chromedp.WSURLReadTimeout(stepTime),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	b := &Browser{t: t}
	var cancel context.CancelFunc
	b.ctx, cancel = chromedp.NewContext(allocator, chromedp.WithListener(b.hear), chromedp.WithErrorf(func(string, ...any) {})) // of events newer than the library
	t.Cleanup(func() {
		cancel()
		stop()
		for _, c := range b.Complaints() {
			t.Errorf("the browser's console: %s", c)
		}
	})
	if err := chromedp.Do(b.ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	return b
}

// hear notes errors: of scripts, of files that did not load, of what the page's policy refused.
func (b *Browser) hear(event any) {
	note := func(format string, args ...any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.complaints = append(b.complaints, fmt.Sprintf(format, args...))
	}
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		note("%s", text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" {
			var words []string
			for _, a := range e.Args {
				words = append(words, string(a.Value))
			}
			note("%s: %s", e.Type, strings.Join(words, " "))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" {
			note("%s (%s)", e.Entry.Text, e.Entry.URL)
		}
	}
}

// Complaints are the console's errors since they were last asked for.
func (b *Browser) Complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.complaints
	b.complaints = nil
	return all
}

// Do does something, which has to succeed.
func (b *Browser) Do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// Go opens a page.
func (b *Browser) Go(url string) {
	b.t.Helper()
	b.Do("open "+url, chromedp.Navigate(url))
}

// Phone makes the window that of a phone, and Desk that of a desk.
func (b *Browser) Phone() {
	b.Do("be a phone", chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
}
func (b *Browser) Desk() { b.Do("be a desk", chromedp.EmulateViewport(1280, 900)) }

// Dark says which colours the user prefers.
func (b *Browser) Dark(dark bool) {
	b.t.Helper()
	value := "light"
	if dark {
		value = "dark"
	}
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}},
	}); err != nil {
		b.t.Fatalf("prefer %s: %v", value, err)
	}
}

// Eval evaluates an expression, or awaits the promise that it is, and returns its value.
func Eval[T any](b *Browser, expression string) T {
	b.t.Helper()
	v, err := eval[T](b, expression)
	if err != nil {
		b.t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

func eval[T any](b *Browser, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Await waits until an expression is true, and returns how long that took. The page looks itself at every frame, so it is
// as exact as what people see.
func (b *Browser) Await(within time.Duration, what, expression string) time.Duration {
	b.t.Helper()
	took, err := eval[float64](b, fmt.Sprintf(`new Promise((done) => {
		const begun = performance.now();
		const look = () => {
			const took = performance.now() - begun;
			let yes = false;
			try { yes = !!(%s); } catch {}
			if (yes) done(took); else if (took > %d) done(-1); else setTimeout(look, 10);
		};
		look();
	})`, expression, within.Milliseconds()))
	if err != nil && strings.Contains(err.Error(), "navigated") {
		return b.Await(within, what, expression) // on the page that has come
	}
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	if took < 0 {
		shown, _ := eval[string](b, `document.body.innerText`)
		b.Screenshot("failure-" + strings.ReplaceAll(b.t.Name(), "/", "-"))
		b.t.Fatalf("not within %s: %s. The page says:\n%.3000s", within, what, shown)
	}
	return time.Duration(took * float64(time.Millisecond))
}

// root is the repository.
func root() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			err = errors.New("no go.mod above")
		}
	}
	return "", err
}

// Screenshot keeps a picture of the whole page as build/screenshots/NAME.png, for people.
func (b *Browser) Screenshot(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTime)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	dir := ""
	if err == nil {
		dir, err = root()
	}
	if err == nil {
		dir = filepath.Join(dir, "build", "screenshots")
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644)
	}
	if err != nil {
		b.t.Errorf("screenshot %s: %v", name, err)
	}
}

// Accessible looks for what keeps people out who use a keyboard, a screen reader or weak eyes, with axe-core, which
// testdata/setup.sh fetches. Serious and critical faults fail the test.
func (b *Browser) Accessible(what string) {
	b.t.Helper()
	dir, err := root()
	if err != nil {
		b.t.Fatal(err)
	}
	axe, err := os.ReadFile(filepath.Join(dir, "build", "axe.min.js"))
	if err != nil {
		b.t.Fatalf("%v: testdata/setup.sh fetches it", err)
	}
	// By the debugger, so that the page's policy, which lets no foreign script run, need not be softened.
	Eval[bool](b, string(axe)+";true")
	raw := Eval[string](b, `axe.run(document, {resultTypes: ['violations']}).then((r) => JSON.stringify(r.violations.map((v) => (
		{id: v.id, impact: v.impact, help: v.help, at: v.nodes.slice(0, 5).map((n) => n.target.join(' ') + ': ' + (n.any[0] || {}).message)}))))`)
	var faults []struct {
		ID, Impact, Help string
		At               []string
	}
	if err := json.Unmarshal([]byte(raw), &faults); err != nil {
		b.t.Fatal(err)
	}
	for _, f := range faults {
		if f.Impact == "serious" || f.Impact == "critical" {
			b.t.Errorf("%s: %s: %s: %s at %s", what, f.Impact, f.ID, f.Help, strings.Join(f.At, "; "))
		} else {
			b.t.Logf("%s: %s: %s: %s at %s", what, f.Impact, f.ID, f.Help, strings.Join(f.At, "; "))
		}
	}
}
