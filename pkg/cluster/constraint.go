package cluster

import (
	"fmt"
	"strings"
)

// Constraint is a condition on a node, as docker writes it: node.labels.room==kitchen.
type Constraint struct {
	Attribute string `json:"attribute"` // node.id, node.hostname, node.arch, node.role, node.labels.<key>
	Not       bool   `json:"not,omitempty"`
	Value     string `json:"value"`
}

func (c Constraint) String() string {
	op := "=="
	if c.Not {
		op = "!="
	}
	return c.Attribute + op + c.Value
}

// ParseConstraint reads ATTRIBUTE==VALUE or ATTRIBUTE!=VALUE; white space around the parts is dropped.
func ParseConstraint(s string) (Constraint, error) {
	attr, value, not := "", "", false
	// The operator that comes first decides, so that a value may contain the other.
	eq, ne := strings.Index(s, "=="), strings.Index(s, "!=")
	switch {
	case eq > 0 && (ne < 0 || eq < ne):
		attr, value = s[:eq], s[eq+2:]
	case ne > 0:
		attr, value, not = s[:ne], s[ne+2:], true
	default:
		return Constraint{}, fmt.Errorf("constraint %q: want ATTRIBUTE==VALUE or ATTRIBUTE!=VALUE, for example node.labels.room==kitchen", shorten(s))
	}
	c := Constraint{Attribute: strings.TrimSpace(attr), Not: not, Value: strings.TrimSpace(value)}
	if c.Value == "" {
		return Constraint{}, fmt.Errorf("constraint %q: the value is empty", shorten(s))
	}
	if err := ValidateNodeAttribute(c.Attribute); err != nil {
		return Constraint{}, fmt.Errorf("constraint %q: %w", shorten(s), err)
	}
	return c, nil
}

const labelPrefix = "node.labels."

// ValidateNodeAttribute refuses an attribute that no node has.
func ValidateNodeAttribute(attr string) error {
	switch attr {
	case "node.id", "node.hostname", "node.arch", "node.role":
		return nil
	}
	if key, ok := strings.CutPrefix(attr, labelPrefix); ok && key != "" {
		return ValidateLabelKey(key)
	}
	return fmt.Errorf("unknown attribute %q: want node.id, node.hostname, node.arch, node.role or node.labels.KEY", shorten(attr))
}

// NodeFacts is what constraints and spread preferences can ask of a node.
type NodeFacts struct {
	ID, Hostname, Arch string
	Role               Role
	Labels             map[string]string
}

// Attribute returns the value of a node's attribute, "" where it has none.
func (n NodeFacts) Attribute(attr string) string {
	switch attr {
	case "node.id":
		return n.ID
	case "node.hostname":
		return n.Hostname
	case "node.arch":
		return n.Arch
	case "node.role":
		return string(n.Role)
	}
	if key, ok := strings.CutPrefix(attr, labelPrefix); ok {
		return n.Labels[key]
	}
	return ""
}

// Holds tells whether the constraint holds for the node. As in docker, letter case does not matter.
func (c Constraint) Holds(n NodeFacts) bool {
	return strings.EqualFold(n.Attribute(c.Attribute), c.Value) != c.Not
}
