package containers

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxMarks bounds what is remembered of each log.
const maxMarks = 128

// growth knows when each log grew how far. Shims write a container's output as it comes, without a time; whoever trims
// the logs looks at their sizes several times a second while they grow, and that is near enough.
type growth struct {
	mu   sync.Mutex
	logs map[string]*grown // by ID of the container
}

func newGrowth() growth { return growth{logs: map[string]*grown{}} }

type grown struct {
	inode   uint64
	size    int64
	marks   []mark        // the oldest first
	changed chan struct{} // closed when the log has grown or is gone
}

// mark says that the log was so long at that time.
type mark struct {
	end  int64
	when time.Time
}

// note takes in what a log is now and returns by how much it has grown.
func (g *growth) note(id string, st unix.Stat_t, kept int64) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	log := g.logs[id]
	if log == nil || log.inode != st.Ino && log.inode != 0 {
		if log != nil {
			close(log.changed)
		}
		log = &grown{changed: make(chan struct{})}
		g.logs[id] = log
	}
	log.inode = st.Ino
	by := st.Size - log.size
	if by <= 0 {
		return 0
	}
	log.size = st.Size
	log.marks = slices.DeleteFunc(log.marks, func(m mark) bool { return m.end <= st.Size-kept })
	if len(log.marks) >= maxMarks {
		// Every other one goes: the older something is, the less it matters to the second.
		for i := range maxMarks / 2 {
			log.marks[i] = log.marks[2*i+1]
		}
		log.marks = log.marks[:maxMarks/2]
	}
	log.marks = append(log.marks, mark{st.Size, time.Unix(st.Mtim.Unix()).UTC()})
	close(log.changed)
	log.changed = make(chan struct{})
	return by
}

// keep forgets all logs but those.
func (g *growth) keep(there map[string]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, log := range g.logs {
		if !there[id] {
			close(log.changed)
			delete(g.logs, id)
		}
	}
}

// changed is closed when the container's log has grown, or is gone.
func (g *growth) changed(id string) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	log := g.logs[id]
	if log == nil { // nobody has seen it yet
		log = &grown{changed: make(chan struct{})}
		g.logs[id] = log
	}
	return log.changed
}

// when is the time at which the log's byte before the offset was there; the present one if it was not seen yet.
func (g *growth) when(id string, end int64) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if log := g.logs[id]; log != nil {
		i, _ := slices.BinarySearchFunc(log.marks, end, func(m mark, end int64) int {
			return int(max(min(m.end-end, 1), -1))
		})
		if i < len(log.marks) {
			return log.marks[i].when
		}
	}
	return time.Now().UTC()
}
