package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxTransfers is how many layers are sent at once. Members that wait get their turn or ask another member,
	// of which there are more with every transfer that ends.
	maxTransfers = 4
	turnLimit    = 10 * time.Second
	// transferBuffer is read from containerd at a time: each read is a call.
	transferBuffer = 256 << 10
)

// BlobHandler serves the images of this node to other members: the read-only part of a registry, below /v2/, by
// digest alone. Tags are not for members: what a tag means is in the state.
func (r *Runtime) BlobHandler() http.Handler {
	return &blobHandler{runtime: r, turns: make(chan struct{}, maxTransfers)}
}

type blobHandler struct {
	runtime *Runtime
	turns   chan struct{}
}

func (h *blobHandler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "images are read only here")
		return
	}
	kind, dgst, ok := parseBlobPath(req.URL.Path)
	switch {
	case req.URL.Path == "/v2/" || req.URL.Path == "/v2":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}\n")
	case !ok:
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "want /v2/NAME/manifests/sha256:… or /v2/NAME/blobs/sha256:…")
	default:
		h.serve(w, req, kind, dgst)
	}
}

// parseBlobPath splits /v2/<name>/<kind>/<digest>. The name does not matter: what is wanted is in the digest.
func parseBlobPath(path string) (kind string, dgst digest.Digest, ok bool) {
	parts := strings.Split(path, "/")
	if len(parts) < 5 || parts[0] != "" || parts[1] != "v2" {
		return "", "", false
	}
	kind, dgst = parts[len(parts)-2], digest.Digest(parts[len(parts)-1])
	return kind, dgst, (kind == "manifests" || kind == "blobs") && dgst.Validate() == nil
}

func (h *blobHandler) serve(w http.ResponseWriter, req *http.Request, kind string, dgst digest.Digest) {
	if err := h.runtime.reach(req.Context()); err != nil {
		refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", err.Error())
		return
	}
	blob, err := h.runtime.client.ContentStore().ReaderAt(h.runtime.inNamespace(req.Context()), ocispec.Descriptor{Digest: dgst})
	if errdefs.IsNotFound(err) {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "not on this node")
		return
	} else if err != nil {
		refuse(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	defer blob.Close()
	w.Header().Set("Docker-Content-Digest", dgst.String())
	w.Header().Set("Etag", `"`+dgst.String()+`"`)
	mediaType := "application/octet-stream"
	if kind == "manifests" {
		if mediaType, err = manifestType(blob); err != nil {
			refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "not a manifest")
			return
		}
	} else if req.Method == http.MethodGet {
		if !h.turn(req.Context()) {
			w.Header().Set("Retry-After", "5")
			refuse(w, http.StatusServiceUnavailable, "TOOMANYREQUESTS", "busy sending images to other members")
			return
		}
		defer func() { <-h.turns }()
	}
	w.Header().Set("Content-Type", mediaType)
	http.ServeContent(w, req, "", time.Time{}, &blobReader{
		blob: blob,
		// Whoever stops reading does not keep its turn.
		progress: func() {
			// A writer that knows no deadlines is one of a test.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(stallLimit))
		},
	})
}

// turn waits for one of the places of those who send.
func (h *blobHandler) turn(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	select {
	case h.turns <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// refuse answers as a registry does.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	// The status says it all to a client that has gone.
	_ = json.NewEncoder(w).Encode(map[string][]entry{"errors": {{code, message}}})
}

// manifestType reads what a manifest says that it is. OCI lets one leave that out.
func manifestType(blob content.ReaderAt) (string, error) {
	if blob.Size() > maxManifest {
		return "", errors.New("too large")
	}
	var body struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
		Config    json.RawMessage   `json:"config"`
		Layers    []json.RawMessage `json:"layers"`
	}
	if err := json.NewDecoder(io.NewSectionReader(blob, 0, blob.Size())).Decode(&body); err != nil {
		return "", err
	}
	switch {
	case body.MediaType != "":
		return body.MediaType, nil
	case body.Manifests != nil:
		return ocispec.MediaTypeImageIndex, nil
	case body.Config != nil && body.Layers != nil:
		return ocispec.MediaTypeImageManifest, nil
	}
	return "", errors.New("neither an index nor a manifest")
}

// blobReader reads ahead, since each read of a blob is a call to containerd.
type blobReader struct {
	blob     content.ReaderAt
	progress func()
	pos      int64
	buf      []byte // what was read from pos on
	backing  []byte
}

func (b *blobReader) Read(p []byte) (int, error) {
	if len(b.buf) == 0 {
		if b.pos >= b.blob.Size() {
			return 0, io.EOF
		}
		if b.backing == nil {
			b.backing = make([]byte, min(transferBuffer, b.blob.Size()))
		}
		b.progress()
		n, err := b.blob.ReadAt(b.backing[:min(int64(len(b.backing)), b.blob.Size()-b.pos)], b.pos)
		if n == 0 {
			return 0, err
		}
		b.buf = b.backing[:n]
	}
	n := copy(p, b.buf)
	b.buf = b.buf[n:]
	b.pos += int64(n)
	return n, nil
}

func (b *blobReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.pos
	case io.SeekEnd:
		offset += b.blob.Size()
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d", offset)
	}
	b.pos, b.buf = offset, nil
	return offset, nil
}
