package containers

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"
)

var (
	// ErrImageUnknown is the kind of every error that says that an image is in no place that was asked.
	ErrImageUnknown = errors.New("image unknown")
	// ErrImageInUse is the kind of the refusal to remove an image that a container here runs.
	ErrImageInUse = errors.New("image in use")
)

// kindError is an error of one of the kinds above that keeps its own words.
type kindError struct {
	kind error
	error
}

func (e kindError) Is(target error) bool { return target == e.kind }
func (e kindError) Unwrap() error        { return e.error }

// imageRef is a reference to an image in its full form.
type imageRef struct {
	repository string        // docker.io/library/greeter
	tag        string        // "" if only a digest was given
	digest     digest.Digest // "" if none was given
}

// parseRef reads what a user writes: greeter, greeter:1, registry.local:5000/greeter@sha256:….
func parseRef(s string) (imageRef, error) {
	named, err := reference.ParseDockerRef(s)
	if err != nil {
		return imageRef{}, fmt.Errorf("bad image reference %q: want for example nginx:1.27 or registry.local:5000/web:2", s)
	}
	// ParseDockerRef drops the tag of a reference that has both, but people want to see it.
	full, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return imageRef{}, err
	}
	out := imageRef{repository: named.Name()}
	if tagged, ok := reference.TagNameOnly(full).(reference.Tagged); ok {
		out.tag = tagged.Tag()
	}
	if digested, ok := full.(reference.Digested); ok {
		out.digest = digested.Digest()
		if err := out.digest.Validate(); err != nil || out.digest.Algorithm() != digest.SHA256 {
			return imageRef{}, fmt.Errorf("bad image reference %q: want a digest of the form sha256: and 64 hexadecimal digits", s)
		}
	}
	return out, nil
}

// name is the reference without its digest, or with it if that is all there is.
func (r imageRef) name() string {
	if r.tag == "" {
		return r.pinned(r.digest)
	}
	return r.repository + ":" + r.tag
}

// pinned is the name under which piswarm keeps the image of that digest, whatever the tag says by then.
func (r imageRef) pinned(d digest.Digest) string { return r.repository + "@" + d.String() }

// isPinned tells whether a name in the image store is one that pinned made.
func isPinned(name string) bool { return strings.Contains(name, "@") }
