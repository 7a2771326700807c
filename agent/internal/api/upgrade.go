package api

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
)

// Upgrades exchanges the piswarm of a node for another one.
type Upgrades interface {
	// Installed says what a node has.
	Installed(ctx context.Context, node string) (client.Upgrade, error)
	// Install hands a file to a node. What a node does not take is a [Refusal].
	Install(ctx context.Context, node string, file client.UpgradeFile, body io.Reader) error
}

// UpgradePath is where a member hands this node another piswarm, which people have given to it, and asks how that goes.
const UpgradePath = "/node/v1/upgrade"

const (
	// maxUpgrade bounds a package or program, in bytes. One has about 30 MB.
	maxUpgrade = 256 << 20
	// upgradeSilence is how long the file may take without a byte.
	upgradeSilence = 30 * time.Second
)

// MaxUpgradeAnswer bounds what a node says about its piswarm, in bytes.
const MaxUpgradeAnswer = 64 << 10

// Refusal makes an error say that what was asked for cannot be done as things are.
func Refusal(err error) error { return conflict("%w", err) }

func nodeUpgrade(m *Member, r *http.Request) (any, error) {
	found, err := findNode(m.View(), r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return m.Upgrades.Installed(r.Context(), found.ID)
}

func (s *Server) upgradeNode(w http.ResponseWriter, r *http.Request) {
	m, err := s.member()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	found, err := findNode(m.View(), r.PathValue("name"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.takeUpgrade(w, r, func(ctx context.Context, file client.UpgradeFile, body io.Reader) error {
		return m.Upgrades.Install(ctx, found.ID, file, body)
	})
}

func (s *Server) peerUpgrade(o Offer) peerHandler {
	return func(_ string, w http.ResponseWriter, r *http.Request) { s.takeUpgrade(w, r, o.Install) }
}

func (s *Server) peerInstalled(o Offer) peerHandler {
	return func(_ string, w http.ResponseWriter, r *http.Request) {
		answer, err := o.Installed(r.Context())
		if err != nil {
			s.fail(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, answer)
	}
}

// takeUpgrade reads a request of a file and has it installed.
func (s *Server) takeUpgrade(w http.ResponseWriter, r *http.Request, install func(context.Context, client.UpgradeFile, io.Reader) error) {
	file, err := upgradeFile(r.URL.Query())
	if err != nil {
		s.fail(w, r, badRequest(err))
		return
	}
	body := &slow{control: http.NewResponseController(w), body: http.MaxBytesReader(w, r.Body, file.Size)}
	if err := install(r.Context(), file, body); err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, client.Written{Holders: 1})
}

// upgradeFile reads how a file is described in a request.
func upgradeFile(q url.Values) (client.UpgradeFile, error) {
	file := client.UpgradeFile{Kind: client.UpgradeKind(q.Get("kind")), SHA256: q.Get("sha256"), Downgrade: q.Get("downgrade") == "true"}
	if file.Kind != client.UpgradePackage && file.Kind != client.UpgradeProgram {
		return file, errors.New("kind: want deb or program")
	}
	if sum, err := hex.DecodeString(file.SHA256); err != nil || len(sum) != 32 || file.SHA256 != hex.EncodeToString(sum) {
		return file, errors.New("sha256: want 64 hexadecimal digits")
	}
	var err error
	if file.Size, err = strconv.ParseInt(q.Get("size"), 10, 64); err != nil || file.Size < 1 || file.Size > maxUpgrade {
		return file, errors.New("size: want the number of bytes, at most 256 MB")
	}
	return file, nil
}

// slow reads a body that is long, and gives it up when nothing comes any more.
type slow struct {
	control *http.ResponseController
	body    io.Reader
}

func (s *slow) Read(b []byte) (int, error) {
	_ = s.control.SetReadDeadline(time.Now().Add(upgradeSilence)) // a recorder of a test knows none
	n, err := s.body.Read(b)
	if err != nil {
		_ = s.control.SetReadDeadline(time.Time{}) // not for the next request of the connection
	}
	return n, err
}
