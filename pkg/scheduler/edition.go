package scheduler

import "github.com/piswarm/piswarm/pkg/cluster"

// edition is what the tasks of one version of a service's spec need of a node. Where they may be at all is for the
// present spec to say, whatever they were made from: a constraint that the user sets today holds today.
type edition struct {
	version     uint64
	platforms   []cluster.Platform
	memoryLimit bool
	needs       cluster.Amount
	hostPorts   []hostPort
	able        []*node // see candidates
	full        bool    // fits nowhere, as far as the present round of placing knows
}

func newEdition(version uint64, spec cluster.Spec) *edition {
	e := &edition{
		version: version, platforms: spec.Container.Platforms, memoryLimit: spec.Resources.Limits.MemoryBytes > 0,
		needs: spec.Resources.Reservations,
	}
	for _, p := range spec.Ports {
		if p.Mode == cluster.PortHost {
			e.hostPorts = append(e.hostPorts, hostPort{p.Published, p.Protocol})
		}
	}
	return e
}

// edition returns what tasks of the version need. Of one that is forgotten the best guess is what those of today do.
func (s *service) edition(version uint64) *edition {
	if e := s.known(version); e != nil {
		return e
	}
	return s.present
}

// known is edition without a guess: nil where the version's spec is forgotten, so that nothing can be made from it.
func (s *service) known(version uint64) *edition {
	if version == s.SpecVersion {
		return s.present
	}
	for _, e := range s.past {
		if e.version == version {
			return e
		}
	}
	spec, ok := s.SpecOf(version)
	if !ok {
		return nil
	}
	e := newEdition(version, spec)
	s.past = append(s.past, e)
	return e
}

// own is what a task is made from when it is placed anew for no reason of an update: what it was, if that is known. A
// slot that is new gets the present spec, unless that one is on trial and has failed; then it gets what serves.
func (s *service) own(t *task) *edition {
	if t.SpecVersion == 0 && s.halted {
		return s.prevailing()
	}
	return s.edition(t.SpecVersion)
}

// prevailing is the version of most tasks that serve, the present one if none does.
func (s *service) prevailing() *edition {
	count := map[uint64]int{}
	best := s.present
	for _, t := range s.tasks {
		e := s.known(t.SpecVersion)
		if t.rank < departing || e == nil {
			continue
		}
		count[e.version]++
		if n, most := count[e.version], count[best.version]; n > most || n == most && e.version < best.version {
			best = e
		}
	}
	return best
}
