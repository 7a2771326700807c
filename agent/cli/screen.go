package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/moby/term"
)

// screen redraws a few lines in place on a terminal.
type screen struct {
	w     io.Writer
	size  func() (width, height int)
	drawn int // lines of the last drawing, above the cursor
}

// newScreen returns the screen that w is, or nil if w is not a terminal.
func newScreen(w io.Writer) *screen {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(f.Fd()) {
		return nil
	}
	return &screen{w: w, size: func() (int, int) { return terminalSize(f) }}
}

// terminalSize is that of the terminal, or of the classical one if it does not say.
func terminalSize(f *os.File) (width, height int) {
	size, err := term.GetWinsize(f.Fd())
	if err != nil || size.Width == 0 || size.Height == 0 {
		return 80, 24
	}
	return int(size.Width), int(size.Height)
}

// draw puts lines in place of those drawn before. They are cut to the terminal's width: one that wrapped would take
// two rows, and the next drawing would start on the wrong one.
func (s *screen) draw(lines []string) {
	width, _ := s.size()
	var out strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", s.drawn)
	}
	for _, line := range lines {
		// The last column stays free, because some terminals wrap as soon as it is written.
		fmt.Fprintf(&out, "\r%s\x1b[K\n", shorten(line, width-1))
	}
	if len(lines) < s.drawn {
		out.WriteString("\r\x1b[J") // what is left of a longer drawing
	}
	s.drawn = len(lines)
	io.WriteString(s.w, out.String())
}
