package dashboard

import (
	"bytes"
	"errors"
	"net/http"
	"time"
)

const (
	// keepAlive is how often a stream says that it still lives, and looks whether its viewer may still look.
	keepAlive = 15 * time.Second
	// sendTime is how long a browser may take to take a message. One that is slower than that comes again.
	sendTime = 10 * time.Second
)

// stream shows the shelf, and what happens to it, as server-sent events.
func (d *Dashboard) stream(w http.ResponseWriter, r *http.Request) {
	_, signed := d.visitor(r)
	v, err := d.hub.join(signed)
	if err != nil {
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, err)
		return
	}
	defer d.hub.leave(v)
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	// A browser that has sent its request sends nothing more, for hours perhaps.
	_ = control.SetReadDeadline(time.Time{})
	send := func(text []byte) bool {
		if err := control.SetWriteDeadline(time.Now().Add(sendTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return false
		}
		if _, err := w.Write(text); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	ok := send([]byte(": looking\n\n"))
	for ok {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			ok = send([]byte(": still here\n\n"))
		case <-v.changed:
			var text bytes.Buffer
			for _, m := range d.hub.next(v) {
				text.WriteString("event: " + m.kind + "\ndata: ")
				text.Write(m.data)
				text.WriteString("\n\n")
			}
			if text.Len() > 0 {
				ok = send(text.Bytes())
			}
		}
		if who, still := d.visitor(r); who.level < looker || still != signed {
			return // signed out, or for too long here
		}
	}
}
