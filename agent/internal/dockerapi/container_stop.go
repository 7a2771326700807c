package dockerapi

import (
	"net/http"

	"github.com/piswarm/piswarm/pkg/client"
)

// containerStop asks the container of a task to end. Its node starts it again, as its service's restart policy says.
func (s *server) containerStop(r *http.Request) (any, error) {
	t, err := s.running(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.stop(r, t)
}

// containerRestart asks the container of a task to end, for its node to start it again. Not every service has what was
// stopped started again.
func (s *server) containerRestart(r *http.Request) (any, error) {
	t, err := s.running(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	of, err := s.findService(r.Context(), t.Service)
	if err != nil {
		return nil, err
	}
	if of.Spec.Mode.Job() || !of.Spec.Restart.Again(false) {
		return nil, conflict("container %s would not be started again, as service %s has it: docker service update --force %s",
			t.name(), t.Service, t.Service)
	}
	return s.stop(r, t)
}

func (s *server) stop(r *http.Request, t task) (any, error) {
	in, err := stopIn(r)
	if err != nil {
		return nil, err
	}
	return empty{}, s.api.StopTask(r.Context(), t.ID, in)
}

// maxStop is the longest that a container may be waited for, in seconds.
const maxStop = 3600

func stopIn(r *http.Request) (client.TaskStop, error) {
	var in client.TaskStop
	signal, err := signalIn(r.URL.Query().Get("signal"))
	if err != nil {
		return in, badRequest("%w", err)
	}
	in.Signal = signal
	if r.URL.Query().Get("t") != "" {
		seconds, err := number(r, "t", 0)
		if err != nil {
			return in, err
		}
		if seconds < 0 || seconds > maxStop {
			return in, badRequest("t=%d: want 0 to %d seconds", seconds, maxStop)
		}
		in.Timeout = &seconds
	}
	return in, nil
}

func (s *server) containerKill(r *http.Request) (any, error) {
	t, err := s.running(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	signal, err := signalIn(r.URL.Query().Get("signal"))
	if err != nil {
		return nil, badRequest("%w", err)
	}
	return empty{}, s.api.KillTask(r.Context(), t.ID, client.TaskKill{Signal: signal})
}
