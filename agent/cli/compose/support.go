package compose

import (
	"errors"
	"fmt"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/tree"
)

// supported are the attributes that are honoured, and no others: an attribute that the format gains later is refused
// until somebody has thought about it here.
func supported() []tree.Path {
	var all []tree.Path
	for _, list := range []struct{ prefix, names string }{
		{"", "name version"},
		{"services.*.", `image command entrypoint environment environment.* environment.[] env_file env_file.[] env_file.[].path
			env_file.[].required env_file.[].format labels labels.* labels.[] label_file label_file.[] hostname user working_dir
			read_only init stop_signal stop_grace_period cap_add cap_drop cap_add.[] cap_drop.[] privileged restart scale profiles
			profiles.[] expose expose.[] command.[] entrypoint.[] tmpfs tmpfs.[] mem_limit mem_reservation cpus pids_limit
			devices.[] devices.[].source devices.[].target devices.[].permissions networks networks.[] networks.*
			networks.*.aliases networks.*.aliases.[]`},
		{"services.*.healthcheck.", "test test.[] interval timeout retries start_period start_interval disable"},
		{"services.*.ports.[].", "target published host_ip protocol mode name app_protocol"},
		{"services.*.volumes.[].", "type source target read_only consistency bind.create_host_path tmpfs.size"},
		{"services.*.secrets.[].", "source target uid gid mode"},
		{"services.*.configs.[].", "source target uid gid mode"},
		{"services.*.deploy.", "mode replicas labels labels.* labels.[]"},
		{"services.*.deploy.update_config.", "parallelism delay failure_action monitor max_failure_ratio order"},
		{"services.*.deploy.rollback_config.", "parallelism delay failure_action monitor max_failure_ratio order"},
		{"services.*.deploy.restart_policy.", "condition delay max_attempts window"},
		{"services.*.deploy.placement.", "constraints constraints.[] preferences.[].spread max_replicas_per_node"},
		{"services.*.deploy.resources.limits.", "cpus memory pids"},
		{"services.*.deploy.resources.reservations.", "cpus memory"},
		{"secrets.*.", "name file environment content external labels labels.* labels.[]"},
		{"configs.*.", "name file environment content external labels labels.* labels.[]"},
		{"networks.*.", "name driver external attachable labels labels.* labels.[]"},
		{"volumes.*.", "name driver external"},
	} {
		for _, name := range strings.Fields(list.names) {
			all = append(all, tree.Path(list.prefix+name))
		}
	}
	return all
}

// harmless are attributes that a service runs as well without, and why they have no effect.
var harmless = map[string]string{
	"services.*.build":          "images are not built here: push the image to a registry, or load it with piswarm image load",
	"services.*.depends_on":     "services start in any order, and reach one another when they are up",
	"services.*.container_name": "tasks are named after their service",
	"services.*.links":          "services reach one another by name",
	"services.*.external_links": "services reach one another by name",
	"services.*.attach":         "piswarm logs shows output",
	"services.*.develop":        "it is for docker compose watch",
	"services.*.logging":        "the end of each task's output is kept in memory, see piswarm logs",
	"services.*.tty":            "tasks have no terminal; piswarm exec -it gives one",
	"services.*.stdin_open":     "tasks have no standard input",
	"services.*.pull_policy":    "an image is looked up when the stack is deployed",
	"services.*.annotations":    "use labels",
	"networks.*.driver_opts":    "networks have no options: they are names that services share",
	"volumes.*.labels":          "volumes are directories on the nodes and have no labels",
}

// judge tells what of the findings is refused, and what is only to be known.
func judge(findings []loader.UnsupportedAttribute) (warnings []string, err error) {
	var errs []error
	for _, f := range findings {
		if empty(f.Value) {
			continue
		}
		why := ""
		for pattern, reason := range harmless {
			if f.Path.Matches(tree.Path(pattern)) {
				why = reason
			}
		}
		switch {
		case why != "":
			warnings = append(warnings, fmt.Sprintf("%s has no effect: %s", f.Path, why))
		case f.Path.Matches("services.*.deploy.endpoint_mode"):
			if f.Value != "vip" {
				errs = append(errs, fmt.Errorf("%s: %v: piswarm has vip alone; the name tasks.SERVICE gives the addresses of all tasks", f.Path, f.Value))
			}
		default:
			errs = append(errs, fmt.Errorf("%s: piswarm does not have that: take it out of the file", f.Path))
		}
	}
	return warnings, errors.Join(errs...)
}

// empty tells whether an attribute asks for nothing.
func empty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
