package cli

import "github.com/piswarm/piswarm/pkg/client"

// The filled functions put empty lists and maps in place of missing ones, so that a program that reads the JSON finds
// a list where it expects one, never null.

func filledStatus(s client.Status) client.Status {
	s.Nodes = filledEach(s.Nodes, filledNodeStatus)
	s.Services = filledEach(s.Services, filledServiceStatus)
	return s
}

func filledNodeStatus(n client.NodeStatus) client.NodeStatus {
	n.Warnings = filled(n.Warnings)
	return n
}

func filledServiceStatus(s client.ServiceStatus) client.ServiceStatus {
	s.Ports = filled(s.Ports)
	return s
}

func filledImage(i client.Image) client.Image {
	i.Nodes = filled(i.Nodes)
	return i
}

func filledFile(f client.File) client.File {
	f.Services = filled(f.Services)
	return f
}

func filledConfig(c client.Config) client.Config {
	c.File = filledFile(c.File)
	return c
}

func filledService(s client.Service) client.Service {
	s.Status = filledServiceStatus(s.Status)
	return s
}

func filledNode(n client.Node) client.Node {
	n.NodeStatus = filledNodeStatus(n.NodeStatus)
	n.Images = filled(n.Images)
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	return n
}

func filled[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func filledEach[T any](list []T, fill func(T) T) []T {
	all := make([]T, len(list))
	for i, v := range list {
		all[i] = fill(v)
	}
	return all
}
