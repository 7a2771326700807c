package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// addTo adds --secret or --config to create.
func (k fileKind) addTo(o *createOptions) {
	listFlag(o, k.kind, k.usage("give containers"), k.parse, k.at)
}

func (k fileKind) usage(verb string) string {
	return verb + " a " + k.kind + " to read at " + k.target + ", `NAME` or source=NAME[,target=PATH][,uid=N][,gid=N][,mode=" + k.mode + "]"
}

// addEditTo adds --secret-add and --secret-rm, or those of configs, to update. What is removed goes first, so that one
// command can put another one in its place.
func (k fileKind) addEditTo(o *updateOptions) {
	f := o.flags
	listed(&o.specFlags, k.kind+"-rm", f.StringArray(k.kind+"-rm", nil, "give containers a "+k.kind+" no more, by its `name`"),
		func(v string) (string, error) { return v, cluster.ValidateFileName(k.kind, v) },
		func(s *cluster.Spec, names []string) error {
			for _, name := range names {
				n := len(*k.at(s))
				if *k.at(s) = slices.DeleteFunc(*k.at(s), func(r cluster.FileRef) bool { return r.Name == name }); len(*k.at(s)) < n {
					continue
				}
				var have []string
				for _, r := range *k.at(s) {
					have = append(have, r.Name)
				}
				return missing(k.kind, name, have)
			}
			return nil
		})
	listed(&o.specFlags, k.kind+"-add", f.StringArray(k.kind+"-add", nil, k.usage("give containers, or change,")), k.parse,
		func(s *cluster.Spec, refs []cluster.FileRef) error {
			for _, r := range refs {
				// One place has one file: it is another one from now on.
				if i := slices.IndexFunc(*k.at(s), func(old cluster.FileRef) bool { return old.Target == r.Target }); i >= 0 {
					(*k.at(s))[i] = r
				} else {
					*k.at(s) = append(*k.at(s), r)
				}
			}
			return nil
		})
}

// completeFileFlags offers the names of secrets and configs to the flags that end so: "", -add, -rm.
func completeFileFlags(cmd *cobra.Command, a *app, suffixes ...string) {
	for _, k := range []fileKind{secrets(), configs()} {
		for _, suffix := range suffixes {
			completeFlagBy(cmd, k.kind+suffix, completeFiles(a, k))
		}
	}
}
