package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/piswarm/piswarm/pkg/lab"
)

const (
	dockerProxyPort = 9001
	nginxPort       = 9002
)

// nginxConfig is a proxy for any protocol, which a published port is, too.
const nginxConfig = `load_module /root/ngx_stream_module.so;
daemon off;
user root;
worker_processes auto;
pid /run/nginx.pid;
error_log /dev/null;
events { worker_connections 1024; }
stream {
	server {
		listen %d;
		proxy_pass %s:5000;
	}
}
`

// startProxies starts both proxies for a task on a node, and returns what ends them.
func (s *shelf) startProxies(ctx context.Context, node, task string) (stop func(), err error) {
	root, err := s.lab.Root(node)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"docker-proxy", "nginx", "ngx_stream_module.so"} {
		if err := copyTo(root+"/root/"+name, filepath.Join(s.proxies, name), 0o755); err != nil {
			return nil, fmt.Errorf("%w: make it with testdata/proxies.sh", err)
		}
	}
	if err := os.WriteFile(root+"/root/nginx.conf", fmt.Appendf(nil, nginxConfig, nginxPort, task), 0o644); err != nil {
		return nil, err
	}
	proxy := fmt.Sprintf("exec /root/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port %d -container-ip %s -container-port 5000", dockerProxyPort, task)
	running, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, argv := range [][]string{
		// It tells the docker daemon by descriptor 3 that it listens.
		{"sh", "-c", proxy + " 3>/dev/null"},
		{"/root/nginx", "-p", "/run", "-e", "/dev/null", "-c", "/root/nginx.conf"},
	} {
		wg.Go(func() {
			var errs bytes.Buffer
			if _, err := s.lab.Exec(running, node, argv, lab.Stdio{Err: &errs}); running.Err() == nil {
				progress("%s ended by itself: %v %s", strings.Join(argv, " "), err, errs.Bytes())
			}
		})
	}
	stop = func() {
		cancel()
		wg.Wait()
	}
	for _, port := range []uint16{dockerProxyPort, nginxPort} {
		err := poll(ctx, 10*time.Second, fmt.Sprintf("the proxy at port %d answers", port), func() bool {
			_, err := s.greet(ctx, node, port)
			return err == nil
		})
		if err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}
