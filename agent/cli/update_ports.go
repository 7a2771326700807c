package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// addPorts adds the flags that change what is published.
func (o *updateOptions) addPorts() {
	f := o.flags
	listed(&o.specFlags, "publish-rm", f.StringArray("publish-rm", nil, "publish a port no more, `TARGET` or PUBLISHED:TARGET, also with /udp"), parsePortRemoval,
		func(s *cluster.Spec, all []portRemoval) error {
			for _, r := range all {
				if err := r.from(s); err != nil {
					return err
				}
			}
			return nil
		})
	listed(&o.specFlags, "publish-add", f.StringArray("publish-add", nil, "publish a port on every node, `PUBLISHED:TARGET`, also with /udp"), cluster.ParsePort,
		func(s *cluster.Spec, all [][]cluster.Port) error {
			for _, p := range slices.Concat(all...) {
				// A published port can lead to one target only: it is led to another one.
				same := func(old cluster.Port) bool { return old.Published == p.Published && old.Protocol == p.Protocol }
				if i := slices.IndexFunc(s.Ports, same); i >= 0 {
					s.Ports[i] = p
				} else {
					s.Ports = append(s.Ports, p)
				}
			}
			return nil
		})
}

// portRemoval names ports as --publish-rm does.
type portRemoval struct {
	text  string
	ports []cluster.Port
	whole bool // the published port is named as well as the target
}

func parsePortRemoval(v string) (portRemoval, error) {
	r := portRemoval{text: v, whole: strings.ContainsAny(v, ":=")}
	whole := v
	if !r.whole {
		target, protocol, _ := strings.Cut(v, "/")
		if whole = target + ":" + target; protocol != "" {
			whole += "/" + protocol
		}
	}
	var err error
	if r.ports, err = cluster.ParsePort(whole); err != nil && !r.whole {
		return r, fmt.Errorf("bad port %q: want the target's, for example 5000 or 5000/udp, or PUBLISHED:TARGET", v)
	}
	return r, err
}

// from removes the ports from the spec.
func (r portRemoval) from(s *cluster.Spec) error {
	for _, p := range r.ports {
		n := len(s.Ports)
		s.Ports = slices.DeleteFunc(s.Ports, func(old cluster.Port) bool {
			return old.Target == p.Target && old.Protocol == p.Protocol && (!r.whole || old.Published == p.Published)
		})
		if len(s.Ports) == n {
			have := make([]string, n)
			for i, old := range s.Ports {
				have[i] = old.String()
			}
			return missing("published port", r.text, have)
		}
	}
	return nil
}
