// Package snapshot keeps on disk what a node must know again after a power cut: the persistent records, the
// clock and the horizon of its state, and the addresses of the peers it has met.
//
// It owns one small file, its previous copy and those set aside as corrupt, all in one directory. It decides
// nothing about records: what belongs on disk and when it has changed is the business of package state. A save
// that changes nothing writes nothing, for each write wears an SD card.
package snapshot
