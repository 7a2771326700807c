package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// Bounds of waiting.
const (
	stepTime  = 8 * time.Second  // for one step of one node: its card may be slow
	knockTime = 3 * time.Second  // for a node that is known and not ready
	patience  = 10 * time.Second // for a ready member to take a step, or to be seen down
	pause     = 500 * time.Millisecond
	wholeTime = 5 * time.Minute // for all of it, once it cannot be taken back
	rounds    = 5               // of members that come while it goes on
	atOnce    = 16              // steps under way
)

// Node is a node of the cluster.
type Node struct{ ID, Name string }

// Driver moves all nodes to a new secret. It is made for one use.
type Driver struct {
	Self string
	// Keys is this node's keyring.
	Keys func() trust.Keyring
	// Ready are the ready members, this node among them; Away are the known nodes that are not ready.
	Ready, Away func() []Node
	// Send has a node take a step.
	Send func(ctx context.Context, node string, step Step) (State, error)
	// Settle is called when all go by the secret and still accept the former: what the cluster holds is made fit for
	// the time without that one.
	Settle func(ctx context.Context, now trust.Keyring) error
	// Tell says how far it is; may be nil.
	Tell func(message string)

	held    []Node
	reached map[string]Node // has the new secret
}

// Result is how it ended.
type Result struct {
	Secret trust.Secret
	// Changed go by the new secret, or will as soon as they are back; Missing need the new token.
	Changed, Missing []Node
	// Behind still accept the old secret: they did not answer at the last step.
	Behind []Node
}

// Rotate finishes a change that was begun before, and then makes another. After an error, either nothing has changed or
// the error says that it is unfinished.
func (d *Driver) Rotate(ctx context.Context) (Result, error) {
	d.reached = map[string]Node{}
	defer func() { d.release(ctx) }()
	states, err := d.hold(ctx)
	if err != nil {
		return Result{}, err
	}
	begun, ok, err := d.begun(states)
	if err != nil {
		return Result{}, err
	}
	if ok {
		d.tell("a change of the token was left unfinished: finishing it first")
		if err := d.install(ctx, begun); err != nil {
			return Result{}, unfinished(err)
		}
		if _, err := d.move(ctx, begun); err != nil {
			return Result{}, err
		}
	}
	d.reached = map[string]Node{}
	next := trust.NewSecret()
	if err := d.install(ctx, next); err != nil {
		d.takeBack(ctx, next)
		return Result{}, fmt.Errorf("the token stays as it is: %w", err)
	}
	return d.move(ctx, next)
}

// hold reserves the ready members one after the other, in order of their IDs, and returns their states.
func (d *Driver) hold(ctx context.Context) (map[string]State, error) {
	nodes := d.Ready()
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	states := map[string]State{}
	for _, n := range nodes {
		answers, failed := d.insist(ctx, []Node{n}, Step{Do: Hold})
		if err := failed[n.ID]; errors.Is(err, ErrRefused) {
			return nil, fmt.Errorf("the token stays as it is: node %s: %w", n.Name, err)
		} else if err != nil {
			return nil, fmt.Errorf("the token stays as it is: %w", trouble(n, err))
		}
		maps.Copy(states, answers)
		d.held = append(d.held, n)
	}
	return states, nil
}

// begun finds a change of before that some node goes by already: it can only be finished. One that was merely handed
// around is given up.
func (d *Driver) begun(states map[string]State) (trust.Secret, bool, error) {
	own := d.Keys()
	if own.Moving() && !own.Coming {
		return own.Primary, true, nil
	}
	for id, s := range states {
		switch {
		case s.Primary != own.Primary.ClusterID() && own.Moving() && s.Primary == own.Other.ClusterID():
			return own.Other, true, nil
		case s.Primary != own.Primary.ClusterID():
			return trust.Secret{}, false, fmt.Errorf("node %s goes by a newer token than this one: run `piswarm token rotate` there", d.nameOf(id))
		case s.Other != "" && !s.Coming:
			return own.Primary, true, nil
		}
	}
	return trust.Secret{}, false, nil
}

// move takes the nodes that have the secret through the other steps.
func (d *Driver) move(ctx context.Context, next trust.Secret) (Result, error) {
	d.tell("the new token is on " + names(slices.Collect(maps.Values(d.reached))))
	// From here it goes forward, also when nobody listens any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wholeTime)
	defer cancel()
	if err := d.use(ctx, next); err != nil {
		return Result{}, unfinished(err)
	}
	d.tell("all go by the new token")
	if err := d.Settle(ctx, d.Keys()); err != nil {
		return Result{}, unfinished(err)
	}
	d.each(ctx, d.known(), Step{Do: Hold}) // it may have taken a while
	_, failed := d.insist(ctx, d.known(), Step{Do: Finish, Cluster: next.ClusterID()})
	r := Result{Secret: next, Changed: slices.Collect(maps.Values(d.reached))}
	for id := range failed {
		r.Behind = append(r.Behind, d.reached[id])
	}
	for _, n := range slices.Concat(d.Ready(), d.Away()) {
		if _, ok := d.reached[n.ID]; !ok {
			r.Missing = append(r.Missing, n)
		}
	}
	d.tell("the old token opens nothing any more")
	for _, nodes := range [][]Node{r.Changed, r.Missing, r.Behind} {
		slices.SortFunc(nodes, byName)
	}
	return r, nil
}

func unfinished(err error) error {
	return fmt.Errorf("the change of the token is unfinished, and the old one holds as well: see to it and run `piswarm token rotate` again: %w", err)
}

// install hands the secret to all ready members, also to those that come meanwhile, and to those of the others that
// answer all the same.
func (d *Driver) install(ctx context.Context, next trust.Secret) error {
	for range rounds {
		todo := d.lacking(d.Ready())
		if len(todo) == 0 {
			d.invite(ctx, next)
			return nil
		}
		if err := d.give(ctx, todo, next); err != nil {
			return err
		}
	}
	return errors.New("more and more nodes come: try again when they are all ready")
}

// give hands the secret to ready members.
func (d *Driver) give(ctx context.Context, nodes []Node, next trust.Secret) error {
	for _, n := range nodes { // also one that came meanwhile, and one whose answer is lost, have something to give up
		if !slices.ContainsFunc(d.held, func(h Node) bool { return h.ID == n.ID }) {
			d.held = append(d.held, n)
		}
	}
	answers, failed := d.insist(ctx, nodes, Step{Do: Install, Token: next.Token()})
	for _, n := range nodes {
		if _, ok := answers[n.ID]; ok {
			d.reached[n.ID] = n
		}
	}
	for _, n := range nodes {
		if err := failed[n.ID]; err != nil {
			return trouble(n, err)
		}
	}
	return nil
}

// trouble says what to do about a node.
func trouble(n Node, err error) error {
	return fmt.Errorf("node %s is ready and does not answer as it should: look at it, or remove it with piswarm node rm --force %s, and try again: %w", n.Name, n.Name, err)
}

// invite tries those that are known and not ready: one that is just starting may be.
func (d *Driver) invite(ctx context.Context, next trust.Secret) {
	away := d.lacking(d.Away())
	ctx, cancel := context.WithTimeout(ctx, knockTime)
	defer cancel()
	held, _ := d.each(ctx, away, Step{Do: Hold})
	away = slices.DeleteFunc(away, func(n Node) bool { _, ok := held[n.ID]; return !ok })
	d.held = append(d.held, away...)
	answers, _ := d.each(ctx, away, Step{Do: Install, Token: next.Token()})
	for _, n := range away {
		if _, ok := answers[n.ID]; ok {
			d.reached[n.ID] = n
		}
	}
}

// use has all that have the secret go by it, and then those that came since.
func (d *Driver) use(ctx context.Context, next trust.Secret) error {
	step := Step{Do: Use, Cluster: next.ClusterID()}
	done := map[string]State{}
	for range rounds {
		var todo []Node
		for id, n := range d.reached {
			if _, ok := done[id]; !ok {
				todo = append(todo, n)
			}
		}
		answers, failed := d.insist(ctx, todo, step)
		for _, n := range todo {
			if err := failed[n.ID]; err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
			if _, ok := answers[n.ID]; !ok {
				done[n.ID] = State{} // it is off by now, and follows when it is back
			}
		}
		maps.Copy(done, answers)
		before := len(d.reached)
		if err := d.give(ctx, d.lacking(d.Ready()), next); err != nil {
			return err
		}
		d.invite(ctx, next)
		if len(d.reached) == before {
			return nil
		}
	}
	return errors.New("more and more nodes come")
}

// takeBack undoes install, as far as nodes answer.
func (d *Driver) takeBack(ctx context.Context, next trust.Secret) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTime)
	defer cancel()
	d.each(ctx, d.held, Step{Do: Drop, Cluster: next.ClusterID()})
}

// release gives up the reservations.
func (d *Driver) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), knockTime)
	defer cancel()
	d.each(ctx, d.held, Step{Do: Release})
}

// insist has ready members take a step, again and again until they have, or are not ready any more, or the patience
// with them is over. What failed are those that are ready all the same.
func (d *Driver) insist(ctx context.Context, nodes []Node, step Step) (answers map[string]State, failed map[string]error) {
	answers = map[string]State{}
	for end := time.Now().Add(patience); ; {
		var some map[string]State
		some, failed = d.each(ctx, nodes, step)
		maps.Copy(answers, some)
		ready := d.Ready()
		nodes = slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool {
			_, done := answers[n.ID]
			gone := n.ID != d.Self && !slices.ContainsFunc(ready, func(r Node) bool { return r.ID == n.ID })
			if done || gone {
				delete(failed, n.ID)
			}
			return done || gone
		})
		if len(nodes) == 0 || time.Now().After(end) || step.Do == Hold && refused(failed) {
			return answers, failed
		}
		select {
		case <-ctx.Done():
			return answers, failed
		case <-time.After(pause):
		}
	}
}

// ErrRefused is what Send returns, wrapped, when the node has answered and does not take the step.
var ErrRefused = errors.New("refused")

func refused(failed map[string]error) bool {
	for _, err := range failed {
		if errors.Is(err, ErrRefused) {
			return true
		}
	}
	return false
}

// each has the nodes take a step, all at once.
func (d *Driver) each(ctx context.Context, nodes []Node, step Step) (answers map[string]State, failed map[string]error) {
	answers, failed = map[string]State{}, map[string]error{}
	var mu sync.Mutex
	var work sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, n := range nodes {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, stepTime)
			defer cancel()
			state, err := d.Send(ctx, n.ID, step)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[n.ID] = err
				return
			}
			answers[n.ID] = state
		})
	}
	work.Wait()
	return answers, failed
}

// lacking are those of the nodes that do not have the secret yet.
func (d *Driver) lacking(nodes []Node) []Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { _, ok := d.reached[n.ID]; return ok })
}

func (d *Driver) known() []Node { return slices.Collect(maps.Values(d.reached)) }

func (d *Driver) nameOf(id string) string {
	for _, n := range d.held {
		if n.ID == id {
			return n.Name
		}
	}
	return id
}

func (d *Driver) tell(message string) {
	if d.Tell != nil {
		d.Tell(message)
	}
}

func byName(a, b Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) }

func names(nodes []Node) string {
	slices.SortFunc(nodes, byName)
	var all []string
	for _, n := range nodes {
		all = append(all, n.Name)
	}
	return strings.Join(all, ", ")
}
