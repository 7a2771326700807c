package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// lossChain is the chain of a host that drops packets. It is the lab's own: what else the host filters is not touched.
const lossChain = "LAB-LOSS"

// lossWait bounds the change of a host's rules.
const lossWait = 20 * time.Second

// Loss makes a host's network card lose a share of its packets by chance, in each direction, until it is set to 0. It
// lasts through a power cut.
func (l *Lab) Loss(ctx context.Context, name string, percent int) error {
	h, err := l.host(name)
	if err != nil {
		return err
	}
	if percent < 0 || percent > 100 {
		return fmt.Errorf("a loss of %d %% on %s: want 0 to 100", percent, name)
	}
	l.losses.Lock()
	defer l.losses.Unlock()
	h.mu.Lock()
	h.loss = percent
	h.mu.Unlock()
	var errs []error
	for _, other := range l.hosts {
		errs = append(errs, other.dropPackets(ctx))
	}
	return errors.Join(errs...)
}

// applyLoss makes a host that has just started lose what it shall.
func (h *host) applyLoss(ctx context.Context) error {
	h.lab.losses.Lock()
	defer h.lab.losses.Unlock()
	return h.dropPackets(ctx)
}

// dropPackets sets a host's rules by the losses of all. What a host shall lose of what it sends is dropped where it
// arrives: a packet that is dropped while it is being sent is an error to its sender, who of bad Wi-Fi hears nothing.
// The caller holds the lock of the losses.
func (h *host) dropPackets(ctx context.Context) error {
	t, err := h.target()
	if err != nil {
		return nil // it is off, or just starting and comes here itself
	}
	var drops []string
	for _, other := range h.lab.hosts {
		other.mu.Lock()
		percent := other.loss
		other.mu.Unlock()
		if percent == 0 {
			continue
		}
		from := ""
		if other != h {
			from = "-m mac --mac-source " + other.mac.String() + " "
		}
		drops = append(drops, fmt.Sprintf("-A %s %s-m statistic --mode random --probability %.2f -j DROP\n", lossChain, from, float64(percent)/100))
	}
	m := h.machine()
	if m == nil || !m.lossy && len(drops) == 0 {
		return nil
	}
	rules := "*raw\n:" + lossChain + " - [0:0]\n" + strings.Join(drops, "")
	if !m.lossy {
		rules += "-I PREROUTING -i " + lanInterface + " -j " + lossChain + "\n"
	}
	ctx, cancel := context.WithTimeout(ctx, lossWait)
	defer cancel()
	var out bytes.Buffer
	code, err := t.Exec(ctx, []string{"iptables-restore", "--noflush", "--wait"},
		Stdio{In: strings.NewReader(rules + "COMMIT\n"), Out: &out, Err: &out})
	if err == nil && code != 0 {
		err = fmt.Errorf("iptables-restore: exit code %d: %s", code, strings.TrimSpace(out.String()))
	}
	if err != nil {
		return fmt.Errorf("packet loss on %s: %w", h.name, err)
	}
	m.lossy = true
	return nil
}
