package main

import (
	"errors"
	"net"
	"time"
)

// neighbours are the agents and their like, on this node and on the others.
func neighbours(nodes []string) []attempt {
	all := []attempt{
		{"agent socket", func() error { return dial("unix", "/run/piswarm/piswarm.sock") }},
		{"containerd socket", func() error { return dial("unix", "/run/containerd/containerd.sock") }},
	}
	for _, port := range []string{"7946", "7947"} {
		all = append(all, attempt{"bridge:" + port, func() error {
			gateway, err := bridge()
			if err != nil {
				return err
			}
			return dial("tcp", net.JoinHostPort(gateway, port))
		}})
		for _, node := range nodes {
			all = append(all, attempt{node + ":" + port, func() error { return dial("tcp", net.JoinHostPort(node, port)) }})
		}
	}
	return all
}

// bridge is this node's address on the containers' bridge.
func bridge() (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			ip := n.IP.To4()
			return net.IPv4(ip[0], ip[1], ip[2], 1).String(), nil
		}
	}
	return "", errors.New("no address")
}

func dial(network, address string) error {
	c, err := net.DialTimeout(network, address, time.Second)
	if err == nil {
		c.Close()
	}
	return err
}
