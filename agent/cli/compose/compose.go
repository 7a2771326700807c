// Package compose turns compose files into what a cluster of piswarm can run: services, and the secrets, configs and
// networks that they use, named as docker's stacks are.
//
// It is the only user of the library that knows the format, and part of the command line: the agent knows nothing of it.
// What a file asks for and piswarm does not have is refused by name, or warned about where a service runs as well
// without; nothing is passed over in silence (see support.go).
package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// Docker's labels of what belongs to a stack.
const (
	NamespaceLabel = "com.docker.stack.namespace"
	ImageLabel     = "com.docker.stack.image"
)

// Stack is all that the files of a stack ask for, in order of name.
type Stack struct {
	Secrets, Configs []client.FileCreate
	Networks         []client.NetworkCreate
	Services         []cluster.Spec
	// External are names of what must be there already.
	External struct{ Secrets, Configs, Networks []string }
	Warnings []string
}

// maxFile bounds a compose file in bytes. All that it makes ends up in the replicated state, which every node keeps.
const maxFile = 1 << 20

// Load reads files as one, of which - is stdin, for a stack of that name. lookup gives the values of variables.
func Load(ctx context.Context, name string, files []string, stdin io.Reader, environ []string) (Stack, error) {
	if err := cluster.ValidateLabels(map[string]string{NamespaceLabel: name}); err != nil || !isStackName(name) {
		return Stack{}, fmt.Errorf("bad stack name %q: want small letters, digits, - and _, a letter or digit first, for example shop", name)
	}
	details := types.ConfigDetails{Environment: types.NewMapping(environ)}
	for i, file := range files {
		content, dir, err := readFile(file, stdin)
		if err != nil {
			return Stack{}, err
		}
		if i == 0 {
			details.WorkingDir = dir
		}
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: file, Content: content})
	}
	var findings []loader.UnsupportedAttribute
	project, err := loader.LoadWithContext(ctx, details, func(o *loader.Options) {
		o.SetProjectName(name, true)
		o.ResolvePaths = true
		o.UnsupportedAttributesCheck = &loader.UnsupportedAttributesCheck{
			Supported: supported(), Report: func(all []loader.UnsupportedAttribute) { findings = all },
		}
	})
	if err != nil {
		return Stack{}, fmt.Errorf("%s: %s", strings.Join(files, ", "), oneLine(err))
	}
	s := Stack{}
	if s.Warnings, err = judge(findings); err != nil {
		return Stack{}, err
	}
	for _, disabled := range slices.Sorted(maps.Keys(project.DisabledServices)) {
		s.Warnings = append(s.Warnings, fmt.Sprintf("service %s has a profile and is left out", disabled))
	}
	c := &converter{stack: name, project: project, environment: details.Environment, out: &s}
	return s, c.convert()
}

// isStackName: the name becomes the beginning of the names of services, which are also host names.
func isStackName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == "" && name[0] != '_' && name[0] != '-'
}

func readFile(name string, stdin io.Reader) (content []byte, dir string, err error) {
	in, dir := stdin, "."
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, "", err
		}
		defer f.Close()
		in, dir = f, filepath.Dir(name)
	}
	if content, err = io.ReadAll(io.LimitReader(in, maxFile+1)); err != nil {
		return nil, "", fmt.Errorf("read %s: %w", name, err)
	}
	if len(content) > maxFile {
		return nil, "", fmt.Errorf("%s is larger than %d MB", name, maxFile>>20)
	}
	dir, err = filepath.Abs(dir)
	return content, dir, err
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// converter turns a project into a stack.
type converter struct {
	stack       string
	project     *types.Project
	environment types.Mapping
	out         *Stack
}

// labels adds the stack's own.
func (c *converter) labels(own types.Labels) map[string]string {
	all := map[string]string{NamespaceLabel: c.stack}
	for key, value := range own {
		if key != NamespaceLabel {
			all[key] = value
		}
	}
	return all
}

func (c *converter) convert() error {
	var errs []error
	used := c.used()
	for _, key := range slices.Sorted(maps.Keys(c.project.Secrets)) {
		if used.secrets[key] {
			errs = append(errs, c.file(cluster.KindSecret, types.FileObjectConfig(c.project.Secrets[key]), &c.out.Secrets, &c.out.External.Secrets))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.project.Configs)) {
		if used.configs[key] {
			errs = append(errs, c.file(cluster.KindConfig, types.FileObjectConfig(c.project.Configs[key]), &c.out.Configs, &c.out.External.Configs))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.project.Networks)) {
		if used.networks[key] {
			errs = append(errs, c.network(key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.project.Services)) {
		spec, err := c.service(c.project.Services[key])
		if err != nil {
			errs = append(errs, fmt.Errorf("service %s: %w", key, err))
			continue
		}
		c.out.Services = append(c.out.Services, spec)
	}
	if len(c.project.Services) == 0 {
		errs = append(errs, errors.New("the file has no services"))
	}
	return errors.Join(errs...)
}

type uses struct{ secrets, configs, networks map[string]bool }

// used are the keys of what services use: as in docker, the rest of the file is made for nobody.
func (c *converter) used() uses {
	u := uses{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, s := range c.project.Services {
		for _, ref := range s.Secrets {
			u.secrets[ref.Source] = true
		}
		for _, ref := range s.Configs {
			u.configs[ref.Source] = true
		}
		for key := range s.Networks {
			u.networks[key] = true
		}
	}
	return u
}

// file takes in a secret or a config.
func (c *converter) file(kind string, f types.FileObjectConfig, made *[]client.FileCreate, external *[]string) error {
	if f.External {
		*external = append(*external, f.Name)
		return nil
	}
	in := client.FileCreate{Name: f.Name, Labels: c.labels(f.Labels)}
	switch {
	case f.File != "":
		content, err := readAtMost(f.File)
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind, f.Name, err)
		}
		in.Data = content
	case f.Environment != "":
		value, ok := c.environment[f.Environment]
		if !ok {
			return fmt.Errorf("%s %s: environment variable %s is not set here", kind, f.Name, f.Environment)
		}
		in.Data = []byte(value)
	default:
		in.Data = []byte(f.Content)
	}
	*made = append(*made, in)
	return cluster.ValidateFile(kind, in.Name, in.Labels, len(in.Data))
}

// readAtMost reads as much of a file as shows that it is too large.
func readAtMost(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, cluster.MaxFileSize+1))
}

func (c *converter) network(key string) error {
	n := c.project.Networks[key]
	if n.External {
		c.out.External.Networks = append(c.out.External.Networks, n.Name)
		return nil
	}
	switch n.Driver {
	case "", "overlay", "default":
	default:
		return fmt.Errorf("network %s: there is no driver %s: all containers are on the cluster's one network, and a network is names that services share", key, n.Driver)
	}
	c.out.Networks = append(c.out.Networks, client.NetworkCreate{Name: n.Name, Labels: c.labels(n.Labels)})
	return cluster.Network{Name: n.Name}.Validate()
}
