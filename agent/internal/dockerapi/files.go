package dockerapi

import (
	"context"
	"errors"
	"maps"
	"net/http"

	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/client"
)

// fileMeta is the same for all secrets and configs: none ever changes.
func fileMeta(f client.File) swarm.Meta {
	return swarm.Meta{Version: index(oneVersion), CreatedAt: f.CreatedAt, UpdatedAt: f.CreatedAt}
}

const oneVersion = "1@"

func fileID(f client.File) string   { return f.ID }
func fileName(f client.File) string { return f.Name }

// refuseDriver refuses drivers of secrets and templates of either.
func refuseDriver(name string, driver, templating *swarm.Driver) error {
	if driver != nil && (driver.Name != "" || len(driver.Options) > 0) {
		return unsupported("%s: driver %s: its value is given, and kept by the cluster", name, driver.Name)
	}
	if templating != nil && (templating.Name != "" || len(templating.Options) > 0) {
		return unsupported("%s: template driver %s: containers get the value as it is given", name, templating.Name)
	}
	return nil
}

// filtered are those that pass the filters of a request.
func filtered(r *http.Request, list func(context.Context) ([]client.File, error)) ([]client.File, error) {
	f, err := readFilters(r, "id", "name", "names", "label")
	if err != nil {
		return nil, err
	}
	files, err := list(r.Context())
	if err != nil {
		return nil, err
	}
	var all []client.File
	for _, one := range files {
		if f.prefix("id", one.ID) && f.prefix("name", one.Name) && f.equal("names", one.Name) && f.labels("label", one.Labels) {
			all = append(all, one)
		}
	}
	return all, nil
}

func secretOut(f client.File) swarm.Secret {
	return swarm.Secret{ID: f.ID, Meta: fileMeta(f), Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: f.Name, Labels: orEmpty(f.Labels)}}}
}

func (s *server) secretList(r *http.Request) (any, error) {
	files, err := filtered(r, s.api.Secrets)
	all := []swarm.Secret{}
	for _, f := range files {
		all = append(all, secretOut(f))
	}
	return all, err
}

func (s *server) findSecret(ctx context.Context, text string) (client.File, error) {
	files, err := s.api.Secrets(ctx)
	if err != nil {
		return client.File{}, err
	}
	return match("secret", text, files, fileID, fileName)
}

func (s *server) secretInspect(r *http.Request) (any, error) {
	f, err := s.findSecret(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return secretOut(f), nil
}

func (s *server) secretCreate(r *http.Request) (any, error) {
	in, err := readSecretly[swarm.SecretSpec](r)
	if err != nil {
		return nil, err
	}
	if err := refuseDriver("secret "+in.Name, in.Driver, in.Templating); err != nil {
		return nil, err
	}
	written, err := s.api.CreateSecret(r.Context(), client.FileCreate{Name: in.Name, Labels: in.Labels, Data: in.Data})
	if err != nil {
		return nil, err
	}
	return created{swarm.SecretCreateResponse{ID: written.ID}}, nil
}

// readSecretly reads a body that no error may repeat a part of.
func readSecretly[T any](r *http.Request) (T, error) {
	in, err := read[T](r)
	var tooLarge *http.MaxBytesError
	if err != nil && !errors.As(err, &tooLarge) {
		err = badRequest("the body of the request is not well formed: want a name, labels, and data in base64")
	}
	return in, err
}

// secretUpdate takes a secret as it is already: whoever deploys a stack twice is served by that.
func (s *server) secretUpdate(r *http.Request) (any, error) {
	in, err := readSecretly[swarm.SecretSpec](r)
	if err != nil {
		return nil, err
	}
	f, err := s.findSecret(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if err := refuseDriver("secret "+in.Name, in.Driver, in.Templating); err != nil {
		return nil, err
	}
	return struct{}{}, update(r, f, in.Annotations, in.Data, s.api.SameSecret)
}

// update compares what is to be with what is. Without data, which docker's users leave out to change labels, those are compared.
func update(r *http.Request, f client.File, in swarm.Annotations, data []byte, same func(context.Context, client.FileCreate) (client.Written, error)) error {
	if err := checkVersion(r.URL.Query().Get("version"), oneVersion); err != nil {
		return err
	}
	if len(data) == 0 && in.Name == f.Name && maps.Equal(in.Labels, f.Labels) {
		return nil
	}
	if in.Name != f.Name || len(data) == 0 {
		return unsupported("%s never changes, nor do its name and labels: make one of another name, and have its services use that", f.Name)
	}
	_, err := same(r.Context(), client.FileCreate{Name: in.Name, Labels: in.Labels, Data: data})
	return err
}

func (s *server) secretRemove(r *http.Request) (any, error) {
	f, err := s.findSecret(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if _, err := s.api.RemoveSecret(r.Context(), f.Name); err != nil {
		return nil, err
	}
	return empty{}, nil
}

func (s *server) configOut(ctx context.Context, f client.File) (swarm.Config, error) {
	c, err := s.api.Config(ctx, f.Name)
	return swarm.Config{ID: f.ID, Meta: fileMeta(f), Spec: swarm.ConfigSpec{
		Annotations: swarm.Annotations{Name: f.Name, Labels: orEmpty(f.Labels)}, Data: c.Data,
	}}, err
}

func (s *server) configList(r *http.Request) (any, error) {
	files, err := filtered(r, s.api.Configs)
	if err != nil {
		return nil, err
	}
	all := []swarm.Config{}
	for _, f := range files {
		c, err := s.configOut(r.Context(), f)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func (s *server) findConfig(ctx context.Context, text string) (client.File, error) {
	files, err := s.api.Configs(ctx)
	if err != nil {
		return client.File{}, err
	}
	return match("config", text, files, fileID, fileName)
}

func (s *server) configInspect(r *http.Request) (any, error) {
	f, err := s.findConfig(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.configOut(r.Context(), f)
}

func (s *server) configCreate(r *http.Request) (any, error) {
	in, err := read[swarm.ConfigSpec](r)
	if err != nil {
		return nil, err
	}
	if err := refuseDriver("config "+in.Name, nil, in.Templating); err != nil {
		return nil, err
	}
	written, err := s.api.CreateConfig(r.Context(), client.FileCreate{Name: in.Name, Labels: in.Labels, Data: in.Data})
	if err != nil {
		return nil, err
	}
	return created{swarm.ConfigCreateResponse{ID: written.ID}}, nil
}

func (s *server) configUpdate(r *http.Request) (any, error) {
	in, err := read[swarm.ConfigSpec](r)
	if err != nil {
		return nil, err
	}
	f, err := s.findConfig(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if err := refuseDriver("config "+in.Name, nil, in.Templating); err != nil {
		return nil, err
	}
	return struct{}{}, update(r, f, in.Annotations, in.Data, s.api.SameConfig)
}

func (s *server) configRemove(r *http.Request) (any, error) {
	f, err := s.findConfig(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if _, err := s.api.RemoveConfig(r.Context(), f.Name); err != nil {
		return nil, err
	}
	return empty{}, nil
}
