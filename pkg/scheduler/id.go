package scheduler

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"strings"
)

// taskIDLength is that of docker's IDs: 128 bits in base 36.
const taskIDLength = 25

// taskID names one placement of a slot. It follows from what the placement is, so that two leaders that place
// the same slot on the same node in the same attempt mean the same task, and the container is made once.
func taskID(serviceID string, slot int, node string, attempt uint64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %q %d", serviceID, slot, node, attempt))
	digits := new(big.Int).SetBytes(sum[:16]).Text(36)
	return strings.Repeat("0", taskIDLength-len(digits)) + digits
}

// searched is how far from the attempts that this leader knows another one's are looked for. A partition in which a
// slot was placed more often than that is not expected; its end would at worst find a container's ID taken.
const searched = 256

// attemptOf returns the attempt that gave a task its ID, looking on both sides of one that is near it. Where none
// did, it returns one above all that were tried.
func attemptOf(id, serviceID string, slot int, node string, near uint64) uint64 {
	for d := range uint64(searched) {
		if taskID(serviceID, slot, node, near+d) == id {
			return near + d
		}
		if d < near && taskID(serviceID, slot, node, near-d) == id {
			return near - d
		}
	}
	return near + searched
}

// affinity is the last word between equal nodes (rendezvous hashing): each slot has its own order of nodes,
// which does not change when other nodes come and go.
func affinity(s *service, slot int, n *node) uint64 {
	return mix(mix(s.hash+uint64(slot)*0x9e3779b97f4a7c15) ^ n.hash)
}

// hashString is 64-bit FNV-1a.
func hashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix spreads every bit of its input over all bits of the result (the finaliser of splitmix64). FNV alone
// hardly moves the upper bits for names that differ in their last letter, as those of nodes do.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
