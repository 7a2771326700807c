package lab

import (
	"os"

	"golang.org/x/sys/unix"
)

// recordBuffer is what may wait to be read, in bytes.
const recordBuffer = 16 << 20

// Record listens to the whole LAN, as somebody with a machine between the cables can. Each read of the file returns one
// Ethernet frame; a frame that is handed on is heard where it comes in and where it goes out. Closing the file ends it.
func (l *Lab) Record() (*os.File, error) {
	var fd int
	err := onOwnThread(func() (err error) {
		if err := unix.Setns(int(l.lan.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		const protocol = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in the order of the network
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, recordBuffer); err != nil {
			unix.Close(fd)
			return os.NewSyscallError("setsockopt", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "LAN"), nil
}
