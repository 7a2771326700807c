package dashboard

import "encoding/json"

// difference is what makes a viewer's scene the present one. Null stands for what is gone.
type difference struct {
	// Full says that what is not in it is gone: the viewer had none, or lost touch.
	Full     bool                `json:"full,omitempty"`
	Head     *head               `json:"head,omitempty"`
	Nodes    map[string]*node    `json:"nodes,omitempty"`
	Services map[string]*service `json:"services,omitempty"`
	Tasks    map[string]*task    `json:"tasks,omitempty"`
	Vitals   map[string]*vitals  `json:"vitals,omitempty"`
}

// between is what a viewer of one scene needs to see another; from may be nil.
func between(from, to *scene) difference {
	var d difference
	if from == nil {
		from, d.Full = &scene{}, true
	}
	if d.Full || from.head != to.head {
		d.Head = &to.head
	}
	d.Nodes = changes(from.nodes, to.nodes)
	d.Services = changes(from.services, to.services)
	d.Tasks = changes(from.tasks, to.tasks)
	d.Vitals = changes(from.vitals, to.vitals)
	return d
}

func changes[V comparable](from, to map[string]V) map[string]*V {
	var out map[string]*V
	set := func(key string, v *V) {
		if out == nil {
			out = map[string]*V{}
		}
		out[key] = v
	}
	for key, v := range to {
		if old, ok := from[key]; !ok || old != v {
			set(key, &v)
		}
	}
	for key := range from {
		if _, ok := to[key]; !ok {
			set(key, nil)
		}
	}
	return out
}

// empty tells whether there is nothing to tell.
func (d difference) empty() bool {
	return !d.Full && d.Head == nil && d.Nodes == nil && d.Services == nil && d.Tasks == nil && d.Vitals == nil
}

// encoded is a difference as it is sent.
func (d difference) encoded() []byte {
	raw, err := json.Marshal(d)
	if err != nil { // of strings, numbers and booleans alone
		panic(err)
	}
	return raw
}
