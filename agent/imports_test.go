package agent_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/piswarm/piswarm/"

// pkg is a package of this module.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

// name is the import path within the module.
func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module) }

// is tells whether a path is one of those, or below one.
func is(path string, of ...string) bool {
	return slices.ContainsFunc(of, func(o string) bool { return path == o || strings.HasPrefix(path, o+"/") })
}

var (
	pure     = []string{"pkg/cluster", "pkg/state", "pkg/scheduler", "pkg/loadbalance"}
	loops    = internal("worker", "leader", "ingress", "replication")
	adapters = internal("gossip", "discovery", "containers", "network", "firewall", "dns", "snapshot", "identity", "peers", "trust", "api", "dockerapi", "doctor", "boot", "upgrade", "floating", "dashboard", "footprint")
)

func internal(names ...string) []string {
	for i, n := range names {
		names[i] = "agent/internal/" + n
	}
	return names
}

// third tells whether an import is of another module: its first element has a dot.
func third(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".")
}

// bans are the directions that imports must not take. Paths of this module stand without its name.
var bans = []struct {
	what   string
	from   func(path string) bool
	to     func(from, path string) bool
	reason string
}{
	{
		"the words import the standard library only",
		func(p string) bool { return is(p, "pkg/cluster") },
		func(_, to string) bool { return is(to, "pkg", "agent") || third(to) },
		"everything imports package cluster: what it imports, everything imports",
	}, {
		"state, scheduler and loadbalance import only the words",
		func(p string) bool { return is(p, pure[1:]...) },
		func(_, to string) bool { return is(to, "pkg", "agent") && to != "pkg/cluster" },
		"three decisions that know nothing of one another can be understood and tested one at a time",
	}, {
		"the pure packages do no I/O and use no third party",
		func(p string) bool { return is(p, pure...) },
		func(_, to string) bool { return is(to, "os", "net/http", "log", "log/slog") || third(to) },
		"what they decide follows from their arguments alone, on every node alike; errors are returned, loops log them",
	}, {
		"what is for everyone imports nothing of the agent",
		func(p string) bool { return is(p, "pkg") },
		func(_, to string) bool { return is(to, "agent") },
		"other people's programs use pkg/client and pkg/lab without pulling the agent in",
	}, {
		"adapters do not import one another",
		func(p string) bool { return is(p, adapters...) },
		func(from, to string) bool {
			if is(to, "agent/internal/trust") && is(from, internal("identity", "api", "peers", "boot")...) {
				return false // the vocabulary of keys
			}
			return is(to, adapters...) && !is(to, family(from))
		},
		"each adapter has one neighbour and can be replaced alone; the composition root joins them",
	}, {
		"adapters import no loop",
		func(p string) bool { return is(p, adapters...) },
		func(_, to string) bool { return is(to, loops...) },
		"loops drive adapters, never the other way round",
	}, {
		"what speaks another language than ours works through the API",
		func(p string) bool { return is(p, internal("dockerapi")...) },
		func(_, to string) bool { return is(to, "agent", "pkg") && to != "pkg/client" && to != "pkg/cluster" },
		"what docker's clients can do, every client of the API can, and there is one place that checks it",
	}, {
		"loops do not import one another",
		func(p string) bool { return is(p, loops...) },
		func(from, to string) bool { return is(to, loops...) && to != from },
		"loops speak through the state: each can be read, tested and restarted alone",
	}, {
		"nothing below the composition root imports it",
		func(p string) bool { return is(p, "agent/internal", "pkg") },
		func(_, to string) bool { return to == "agent" || is(to, "agent/cli", "agent/cmd") },
		"imports go cmd, cli, agent, loops and adapters, pkg, and only that way",
	}, {
		"the agent does not know its command line",
		func(p string) bool { return p == "agent" },
		func(_, to string) bool { return is(to, "agent/cli", "agent/cmd") },
		"imports go cmd, cli, agent, loops and adapters, pkg, and only that way",
	}, {
		"compose files are the command line's alone",
		func(p string) bool { return !is(p, "agent/cli/compose") },
		func(from, to string) bool {
			return strings.HasPrefix(to, "github.com/compose-spec/") || to == "agent/cli/compose" && from != "agent/cli"
		},
		"an agent runs what its API is given: it reads no files of other programs, and a Pi Zero has no memory for that",
	}, {
		"main is thin",
		func(p string) bool { return is(p, "agent/cmd") },
		func(_, to string) bool {
			return is(to, "agent", "pkg") && to != "agent/cli" && to != "agent/internal/reaper" || third(to)
		},
		"what main did itself no test could start in-process",
	}, {
		"the command line works through the API",
		func(p string) bool { return is(p, "agent/cli") },
		func(_, to string) bool {
			return is(to, "agent/internal") && !is(to, "agent/internal/trust") || is(to, "pkg/state", "pkg/scheduler", "pkg/loadbalance")
		},
		"what the command line can do, every client of the API can; only a token is made and checked without one",
	},
}

// family is the adapter that a package belongs to: a fake lives below what it stands for.
func family(path string) string {
	i := slices.IndexFunc(adapters, func(a string) bool { return is(path, a) })
	return adapters[i]
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, ban := range bans {
			if !ban.from(p.name()) {
				continue
			}
			for _, i := range p.Imports {
				if to := strings.TrimPrefix(i, module); ban.to(p.name(), to) {
					t.Errorf("%s imports %s: %s, because %s", p.name(), to, ban.what, ban.reason)
				}
			}
		}
	}
}

// impure are the calls that make a result depend on more than the arguments.
var impure = map[string][]string{
	"time":        {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"crypto/rand": nil, // all of it
	// Of a seeded generator these make one; all else draws from a global one.
	"math/rand":    {"!", "New", "NewSource", "NewZipf", "Rand", "Source"},
	"math/rand/v2": {"!", "New", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "Source", "PCG", "ChaCha8"},
}

// The pure packages get time and randomness as arguments, so that the same input gives the same plan on every node
// and in every test.
func TestPurePackagesAskNoClockAndNoDice(t *testing.T) {
	for _, p := range packages(t) {
		if !is(p.name(), pure...) {
			continue
		}
		for use := range uses(t, p) {
			names, banned := impure[use.path]
			except := len(names) > 0 && names[0] == "!"
			if banned && (len(names) == 0 || slices.Contains(names, use.name) != except) {
				t.Errorf("%s: %s uses %s.%s: time and randomness come in as arguments", use.at, p.name(), use.path, use.name)
			}
		}
	}
}

// A loop may speak of the data of the adapters that it drives, but what they do it gets as an interface: that is
// what lets its tests run without a kernel, a network and containerd.
func TestLoopsGetBehaviourAsInterfaces(t *testing.T) {
	all := packages(t)
	functions := map[string]map[string]bool{} // of each adapter
	for _, p := range all {
		if !is(p.name(), adapters...) {
			continue
		}
		functions[p.ImportPath] = map[string]bool{}
		for _, file := range parse(t, p, token.NewFileSet()) {
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
					functions[p.ImportPath][f.Name.Name] = true
				}
			}
		}
	}
	for _, p := range all {
		if !is(p.name(), loops...) {
			continue
		}
		for use := range uses(t, p) {
			if functions[use.path][use.name] {
				t.Errorf("%s: %s calls %s of %s: take it as an interface", use.at, p.name(), use.name, use.path)
			}
		}
	}
}

// use is a name of another package that a file uses.
type use struct {
	path, name string
	at         token.Position
}

func uses(t *testing.T, p pkg) map[use]bool {
	set := token.NewFileSet()
	all := map[use]bool{}
	for _, file := range parse(t, p, set) {
		paths := map[string]string{} // by the name that the file gives them
		for _, i := range file.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Base(strings.TrimSuffix(path, "/v2"))
			if i.Name != nil {
				name = i.Name.Name
			}
			if name == "." {
				t.Errorf("%s: %s imports %s with a dot: the reader cannot tell whose names are whose", set.Position(i.Pos()), p.name(), path)
			}
			paths[name] = path
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && paths[x.Name] != "" && x.Obj == nil { // Obj: a variable of that name
				all[use{paths[x.Name], s.Sel.Name, set.Position(s.Pos())}] = true
			}
			return true
		})
	}
	return all
}

func parse(t *testing.T, p pkg, set *token.FileSet) []*ast.File {
	t.Helper()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// packages are all of this module, as for Linux, without their tests.
func packages(t *testing.T) []pkg {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,Imports", module+"...")
	command.Env = append(command.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	for _, wanted := range slices.Concat(pure, loops, adapters) {
		if !slices.ContainsFunc(all, func(p pkg) bool { return p.name() == wanted }) {
			t.Errorf("there is no package %s: a rule of this test holds nothing", wanted)
		}
	}
	return all
}
