package worker

import (
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

func TestNext(t *testing.T) {
	now := time.Unix(1000, 0)
	soon := now.Add(3 * time.Second)
	for name, test := range map[string]struct {
		facts facts
		want  step
		wait  time.Duration
	}{
		"service without a plan, running":    {facts{container: containers.Running}, rest, 0},
		"service without a plan, ended":      {facts{container: containers.Stopped}, rest, 0},
		"planned, nothing there":             {facts{known: true, wanted: true}, fetch, 0},
		"planned, image there":               {facts{known: true, wanted: true, image: true}, start, 0},
		"planned, in a pause":                {facts{known: true, wanted: true, image: true, notBefore: soon}, rest, 3 * time.Second},
		"planned, in a pause without image":  {facts{known: true, wanted: true, notBefore: soon}, rest, 3 * time.Second},
		"planned, pause just over":           {facts{known: true, wanted: true, image: true, notBefore: now}, start, 0},
		"planned, half-made":                 {facts{known: true, wanted: true, image: true, container: containers.Created}, start, 0},
		"planned, half-made, in a pause":     {facts{known: true, wanted: true, image: true, container: containers.Created, notBefore: soon}, rest, 3 * time.Second},
		"planned, running":                   {facts{known: true, wanted: true, container: containers.Running}, rest, 0},
		"planned, running at a wrong place":  {facts{known: true, wanted: true, container: containers.Running, misplaced: true}, stop, 0},
		"planned, not there, no place yet":   {facts{known: true, wanted: true, image: true, misplaced: true}, start, 0},
		"planned, ended":                     {facts{known: true, wanted: true, container: containers.Stopped}, bury, 0},
		"planned, ended in a pause":          {facts{known: true, wanted: true, container: containers.Stopped, notBefore: soon}, bury, 0},
		"not planned, running":               {facts{known: true, container: containers.Running}, retire, 0},
		"not planned, running, wrong place":  {facts{known: true, container: containers.Running, misplaced: true}, stop, 0},
		"not planned, half-made":             {facts{known: true, container: containers.Created}, bury, 0},
		"not planned, ended":                 {facts{known: true, container: containers.Stopped}, bury, 0},
		"not planned, gone":                  {facts{known: true}, forget, 0},
		"not planned, gone, was in a pause":  {facts{known: true, notBefore: soon}, forget, 0},
		"not planned, does not end":          {facts{known: true, container: containers.Stopped, endAfter: soon}, rest, 3 * time.Second},
		"not planned, leaves something":      {facts{known: true, endAfter: soon}, rest, 3 * time.Second},
		"planned, gone, did not end at once": {facts{known: true, wanted: true, image: true, endAfter: soon}, start, 0},
		"barred, running":                    {facts{known: true, wanted: true, barred: true, container: containers.Running}, retire, 0},
		"barred, half-made":                  {facts{known: true, wanted: true, barred: true, container: containers.Created}, bury, 0},
		"barred, gone":                       {facts{known: true, wanted: true, barred: true, image: true}, rest, 0},
		"barred and not planned, gone":       {facts{known: true, barred: true}, forget, 0},
		"node leaves, running":               {facts{known: true, wanted: true, leaving: true, container: containers.Running}, rest, 0},
		"node leaves, half-made":             {facts{known: true, wanted: true, leaving: true, container: containers.Created}, bury, 0},
		"node leaves, nothing there":         {facts{known: true, wanted: true, leaving: true, image: true}, rest, 0},
		"planned, waits for another's end":   {facts{known: true, wanted: true, image: true, follows: soon}, follow, 3 * time.Second},
		"planned, waits without image":       {facts{known: true, wanted: true, follows: soon}, fetch, 0},
		"planned, has waited long enough":    {facts{known: true, wanted: true, image: true, follows: now}, start, 0},
		"planned, of no known version":       {facts{known: true, wanted: true, image: true, unknown: true}, rest, 0},
		"of no known version, running":       {facts{known: true, wanted: true, unknown: true, container: containers.Running}, rest, 0},
		"of no known version, half-made":     {facts{known: true, wanted: true, unknown: true, container: containers.Created}, bury, 0},
		"has ended for good":                 {facts{known: true, wanted: true, final: true, container: containers.Stopped}, rest, 0},
		"has ended for good, gone":           {facts{known: true, wanted: true, final: true, image: true}, rest, 0},
		"has ended for good, and noted":      {facts{known: true, final: true, container: containers.Stopped}, bury, 0},
		"unknown plan at a wrong place runs": {facts{container: containers.Running, misplaced: true}, rest, 0},
	} {
		if got, wait := next(test.facts, now); got != test.want || wait != test.wait {
			t.Errorf("%s: %s, look again in %s; want %s and %s", name, got, wait, test.want, test.wait)
		}
	}
}
