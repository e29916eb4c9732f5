package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// Sockets are blocking and used by raw system calls: Go's network poller would add two switches
// between threads to every round trip, several microseconds that no CNI is to blame for.

var epoch = time.Now()

// now is the monotonic clock in nanoseconds since the program's start.
func now() int64 { return int64(time.Since(epoch)) }

// settle keeps this goroutine on one thread, and the thread on one CPU; -1 for any.
func settle(cpu int) error {
	runtime.LockOSThread()
	if cpu < 0 {
		return nil
	}
	var set [128]byte
	if cpu >= 8*len(set) {
		return fmt.Errorf("CPU %d: at most %d", cpu, 8*len(set)-1)
	}
	set[cpu/8] |= 1 << (cpu % 8)
	_, _, errno := syscall.RawSyscall(
		syscall.SYS_SCHED_SETAFFINITY, 0, uintptr(len(set)), uintptr(unsafe.Pointer(&set[0])))
	if errno != 0 {
		return fmt.Errorf("CPU %d cannot be had: %w", cpu, errno)
	}
	return nil
}

// urgent has this thread run before others, where it may (CAP_SYS_NICE): by SCHED_FIFO, else by its
// nice value. What a busy machine has it wait for is no part of a path.
func urgent() {
	const fifo = 1 // SCHED_FIFO of linux/sched.h
	priority := int32(1)
	_, _, errno := syscall.RawSyscall(
		syscall.SYS_SCHED_SETSCHEDULER, 0, fifo, uintptr(unsafe.Pointer(&priority)))
	if errno != 0 {
		_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, -20)
	}
}

// sleep is nanosleep(2): Go's own wakes another thread first, which would be in the next operation's
// caches.
func sleep(nanoseconds int64) {
	wait := syscall.NsecToTimespec(nanoseconds)
	for {
		_, _, errno := syscall.RawSyscall(
			syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&wait)), uintptr(unsafe.Pointer(&wait)), 0)
		if errno != syscall.EINTR {
			return
		}
	}
}

// userTime is the CPU time that this thread has spent outside the kernel, in nanoseconds.
func userTime() int64 {
	const thread = 1 // RUSAGE_THREAD of sys/resource.h
	var usage syscall.Rusage
	if err := syscall.Getrusage(thread, &usage); err != nil {
		return 0
	}
	return usage.Utime.Nano()
}

// sockaddr returns the socket family and address of an address and port.
func sockaddr(address netip.AddrPort) (int, syscall.Sockaddr) {
	if ip := address.Addr().Unmap(); ip.Is4() {
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: int(address.Port()), Addr: ip.As4()}
	}
	return syscall.AF_INET6, &syscall.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()}
}

// open makes a socket for an address; seconds bounds every read and write on it.
func open(address netip.AddrPort, kind int, seconds int64) (int, error) {
	family, _ := sockaddr(address)
	fd, err := syscall.Socket(family, kind|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	limit := syscall.Timeval{Sec: seconds}
	for _, option := range []int{syscall.SO_RCVTIMEO, syscall.SO_SNDTIMEO} {
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, option, &limit); err != nil {
			syscall.Close(fd)
			return -1, fmt.Errorf("setsockopt: %w", err)
		}
	}
	if kind == syscall.SOCK_STREAM {
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
			syscall.Close(fd)
			return -1, fmt.Errorf("setsockopt: %w", err)
		}
	}
	return fd, nil
}

func dial(address netip.AddrPort, kind int, seconds int64) (int, error) {
	fd, err := open(address, kind, seconds)
	if err != nil {
		return -1, err
	}
	_, to := sockaddr(address)
	if err := syscall.Connect(fd, to); err != nil {
		syscall.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", address, err)
	}
	return fd, nil
}

// hangUp closes a connection by a reset, which leaves no TIME_WAIT behind.
func hangUp(fd int) {
	_ = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	syscall.Close(fd)
}

// read is read(2) without the bookkeeping of Go's scheduler, which would find the thread another
// processor afterwards.
func read(fd int, buffer []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(
			syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buffer[0])), uintptr(len(buffer)))
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, fmt.Errorf("read: %w", errno)
		}
		return int(n), nil
	}
}

func write(fd int, data []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(
			syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, fmt.Errorf("write: %w", errno)
		}
		return int(n), nil
	}
}

// readOpen is read, for which the end of the connection is an error.
func readOpen(fd int, buffer []byte) (int, error) {
	n, err := read(fd, buffer)
	if err == nil && n == 0 {
		err = fmt.Errorf("read: the other end has closed the connection")
	}
	return n, err
}

func readAll(fd int, buffer []byte) error {
	for len(buffer) > 0 {
		n, err := readOpen(fd, buffer)
		if err != nil {
			return err
		}
		buffer = buffer[n:]
	}
	return nil
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := write(fd, data)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

var order = binary.LittleEndian
