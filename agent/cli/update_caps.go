package cli

import (
	"fmt"
	"slices"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// addCapabilities adds --cap-add and --cap-drop. As in docker, one takes back the other, and only what is not there to
// be taken back is added.
func (o *updateOptions) addCapabilities() {
	add := o.flags.StringArray("cap-add", nil, "add a Linux `capability`, or drop it no more")
	drop := o.flags.StringArray("cap-drop", nil, "drop a Linux `capability`, or ALL, or add it no more")
	o.on(func() (change, error) {
		added, err := each(*add, cluster.NormalizeCapability)
		if err != nil {
			return nil, err
		}
		dropped, err := each(*drop, cluster.NormalizeCapability)
		if err != nil {
			return nil, err
		}
		for _, name := range added {
			if slices.Contains(dropped, name) {
				return nil, fmt.Errorf("capability %s is both added and dropped", name)
			}
		}
		return func(s *cluster.Spec) error {
			for _, name := range added {
				shift(name, &s.Container.CapDrop, &s.Container.CapAdd)
			}
			for _, name := range dropped {
				shift(name, &s.Container.CapAdd, &s.Container.CapDrop)
			}
			return nil
		}, nil
	}, "cap-add", "cap-drop")
}

// shift takes a name out of one list, or, where it is not in there, sees to it that it is in the other.
func shift(name string, from, to *[]string) {
	if i := slices.Index(*from, name); i >= 0 {
		*from = slices.Delete(*from, i, i+1)
	} else if !slices.Contains(*to, name) {
		*to = append(*to, name)
	}
}
