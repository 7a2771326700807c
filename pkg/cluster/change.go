package cluster

import "reflect"

// NeedsNewTasks tells whether running tasks of the old spec must be replaced for the new one, and SpecVersion
// change. Only what a container is made of counts. Replicas and placement are the scheduler's, labels are for
// people, and published ports, unlike docker's, are rules of the nodes that no container knows of. Force is there to
// say so when nothing else changes.
func NeedsNewTasks(old, new Spec) bool {
	a, b := old.Container, new.Container
	// The image's platforms follow from its digest.
	a.Platforms, b.Platforms = nil, nil
	return !sameData(reflect.ValueOf(a), reflect.ValueOf(b)) || old.Resources != new.Resources || old.Force != new.Force
}

// sameData is reflect.DeepEqual for plain data, except that an empty list or map is the same as none: a spec
// that went through JSON has lost that difference.
func sameData(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if !sameData(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Map:
		return a.Len() == 0 && b.Len() == 0 || reflect.DeepEqual(a.Interface(), b.Interface())
	default:
		return a.Equal(b)
	}
}
