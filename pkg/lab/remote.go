package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// ErrNoLab is the error of Connect when no lab is served at the socket.
var ErrNoLab = errors.New("no lab is up: start one with `piswarm lab up`")

// Remote is a lab that another process serves. Its methods do what those of [Lab] do.
type Remote struct {
	http *http.Client
}

// Connect finds the lab that is served at a socket.
func Connect(ctx context.Context, socket string) (*Remote, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab needs root: run it with sudo")
	}
	r := &Remote{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, ErrNoLab
	}
	return r, conn.Close()
}

// List returns all hosts.
func (r *Remote) List(ctx context.Context) (hosts []Host, err error) {
	err = r.do(ctx, http.MethodGet, "/v1/hosts", &hosts)
	return hosts, err
}

// Exec runs a command on a host, as a child of this process.
func (r *Remote) Exec(ctx context.Context, name string, argv []string, stdio Stdio) (int, error) {
	var target Target
	if err := r.do(ctx, http.MethodGet, "/v1/hosts/"+url.PathEscape(name)+"/target", &target); err != nil {
		return -1, err
	}
	return target.Exec(ctx, argv, stdio)
}

// PowerOff cuts a host's power.
func (r *Remote) PowerOff(ctx context.Context, name string) error {
	return r.post(ctx, name, "power-off", nil)
}

// PowerOn starts a host from its disk and returns when it is up.
func (r *Remote) PowerOn(ctx context.Context, name string) error {
	return r.post(ctx, name, "power-on", nil)
}

// Shutdown shuts a host down in good order and returns when it is off.
func (r *Remote) Shutdown(ctx context.Context, name string) error {
	return r.post(ctx, name, "shutdown", nil)
}

// Cut pulls a host's network cable.
func (r *Remote) Cut(ctx context.Context, name string) error { return r.post(ctx, name, "cut", nil) }

// Heal puts a host's network cable back.
func (r *Remote) Heal(ctx context.Context, name string) error { return r.post(ctx, name, "heal", nil) }

// Split parts the LAN into groups.
func (r *Remote) Split(ctx context.Context, groups ...[]string) error {
	query := url.Values{}
	for _, g := range groups {
		query.Add("group", strings.Join(g, ","))
	}
	return r.do(ctx, http.MethodPost, "/v1/split?"+query.Encode(), &struct{}{})
}

// Unsplit makes the LAN one again.
func (r *Remote) Unsplit(ctx context.Context) error {
	return r.do(ctx, http.MethodPost, "/v1/unsplit", &struct{}{})
}

// Loss makes a host lose a share of its packets.
func (r *Remote) Loss(ctx context.Context, name string, percent int) error {
	return r.post(ctx, name, "loss", url.Values{"percent": {strconv.Itoa(percent)}})
}

// Readdress gives a host another address from its next start on.
func (r *Remote) Readdress(ctx context.Context, name string, addr netip.Addr) error {
	return r.post(ctx, name, "address", url.Values{"address": {addr.String()}})
}

// Clone replaces a host's disk by a copy of another's.
func (r *Remote) Clone(ctx context.Context, from, to string) error {
	return r.post(ctx, to, "clone", url.Values{"from": {from}})
}

// Down ends the lab and returns when nothing of it is left.
func (r *Remote) Down(ctx context.Context) error {
	return r.do(ctx, http.MethodPost, "/v1/down", &struct{}{})
}

func (r *Remote) post(ctx context.Context, name, verb string, query url.Values) error {
	return r.do(ctx, http.MethodPost, "/v1/hosts/"+url.PathEscape(name)+"/"+verb+"?"+query.Encode(), &struct{}{})
}

func (r *Remote) do(ctx context.Context, method, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, nil)
	if err != nil {
		return err
	}
	response, err := r.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask the lab: %w", err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	if response.StatusCode >= http.StatusBadRequest {
		var e errorAnswer
		if err := decoder.Decode(&e); err != nil || e.Error == "" {
			return fmt.Errorf("ask the lab: %s", response.Status)
		}
		return errors.New(e.Error)
	}
	return decoder.Decode(into)
}
