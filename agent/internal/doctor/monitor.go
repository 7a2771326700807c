package doctor

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// every is how often a monitor looks. The cheap checks read some twenty small files: a few milliseconds of a
	// PC, and so, once a minute, no more than a tenth of a percent of a Pi Zero.
	every = time.Minute
	// calm is how long a trouble has to be away before it counts as over. What comes and goes, as memory that is
	// short now and then, would change the node's report with every look, and every node would be told of it.
	calm = 10 * time.Minute
)

// Monitor keeps the warnings of a node that runs.
type Monitor struct {
	machine Machine

	mu     sync.Mutex
	looked time.Time
	seen   map[string]time.Time // by check, when it last found trouble
	texts  map[string]string    // by check, what it was
}

// NewMonitor returns a monitor of the machine that has not looked yet.
func NewMonitor(m Machine) *Monitor {
	return &Monitor{machine: m, seen: map[string]time.Time{}, texts: map[string]string{}}
}

// Warnings returns a sentence for each trouble that the cheap checks found. It looks at most once a minute, so it may
// be called as often as one likes.
func (m *Monitor) Warnings() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	// On the monotonic clock: a Pi that finds out what year it is has not waited that long.
	now := time.Now()
	if m.looked.IsZero() || now.Sub(m.looked) >= every {
		m.looked = now
		m.look(now)
	}
	var warnings []string
	for _, c := range checks {
		if text := m.texts[c.name]; text != "" {
			warnings = append(warnings, text)
		}
	}
	return slices.Clip(warnings)
}

func (m *Monitor) look(now time.Time) {
	for _, c := range checks {
		if !c.cheap {
			continue
		}
		if f := c.look(context.Background(), m.machine); !f.OK {
			m.seen[c.name], m.texts[c.name] = now, f.Problem+": "+f.Fix
		} else if now.Sub(m.seen[c.name]) >= calm {
			delete(m.texts, c.name)
		}
	}
}
