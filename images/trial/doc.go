// Package trial looks at a finished SD image and boots it in QEMU, as the board that it is for. It holds tests alone:
//
//	make test-image BOARD=zero
//
// The Pis are on a network of their own, in a namespace that ends with the test. QEMU starts the kernel by itself, without
// the Pi's own firmware: that the firmware would find what it needs is looked up in the boot partition's files.
package trial
