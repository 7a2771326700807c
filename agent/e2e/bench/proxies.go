package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/piswarm/piswarm/pkg/lab"
)

const (
	dockerProxyPort = 9001
	nginxPort       = 9002
)

// nginxConfig is a proxy that keeps its connections to the task, as one that is meant to be fast does.
const nginxConfig = `daemon off;
user root;
worker_processes auto;
pid /run/nginx.pid;
error_log /dev/null;
events { worker_connections 1024; }
http {
	access_log off;
	keepalive_requests 1000000;
	client_body_temp_path /run/nginx-body;
	proxy_temp_path /run/nginx-proxy;
	fastcgi_temp_path /run/nginx-fastcgi;
	uwsgi_temp_path /run/nginx-uwsgi;
	scgi_temp_path /run/nginx-scgi;
	upstream task { server %s:5000; keepalive 64; keepalive_requests 1000000; }
	server {
		listen %d;
		location / {
			proxy_pass http://task;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}
}
`

// startProxies starts both proxies for a task on a node, and returns what ends them.
func (s *shelf) startProxies(ctx context.Context, node, task string) (stop func(), err error) {
	root, err := s.lab.Root(node)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"docker-proxy", "nginx"} {
		if err := copyTo(root+"/root/"+name, filepath.Join(s.proxies, name), 0o755); err != nil {
			return nil, fmt.Errorf("%w: make it with testdata/proxies.sh", err)
		}
	}
	if err := os.WriteFile(root+"/root/nginx.conf", fmt.Appendf(nil, nginxConfig, task, nginxPort), 0o644); err != nil {
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
			if _, err := s.lab.Exec(running, node, argv, lab.Stdio{Err: os.Stderr}); running.Err() == nil {
				progress("%s ended by itself: %v", argv[0], err)
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
