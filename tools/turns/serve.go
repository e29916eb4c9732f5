package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"unsafe"
)

// serve answers on four ports, one thread per connection, all on one CPU.
func serve(arguments []string) error {
	flags := flag.NewFlagSet("turns serve", flag.ContinueOnError)
	cpu := flags.Int("cpu", -1, "the CPU to run on; -1 for any")
	host := flags.String("host", "0.0.0.0", "the address to listen on")
	echo := flags.Int("echo", 8100, "port of the echo, TCP and UDP")
	sink := flags.Int("sink", 8101, "port of the sink of transfers, TCP")
	first := flags.Bool("urgent", false, "answer before other programs run, where that is allowed")
	count := flags.Int("count", 8102, "port that counts datagrams: UDP, and TCP to ask how many")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if err := settle(*cpu); err != nil {
		return err
	}
	ip, err := netip.ParseAddr(*host)
	if err != nil {
		return fmt.Errorf("-host: %w", err)
	}
	urgently = *first
	// Each connection has a thread, whose leftovers only a collection takes: once in many thousands.
	debug.SetMemoryLimit(serveMemory)
	failed := make(chan error, 8)
	for port, answer := range map[int]func(int) error{*echo: answerEcho, *sink: answerSink} {
		listener, err := listen(netip.AddrPortFrom(ip, uint16(port)), syscall.SOCK_STREAM)
		if err != nil {
			return err
		}
		go accept(listener, *cpu, answer, failed)
	}
	datagrams, err := listen(netip.AddrPortFrom(ip, uint16(*echo)), syscall.SOCK_DGRAM)
	if err != nil {
		return err
	}
	go thread(*cpu, func() error { return echoDatagrams(datagrams) }, failed)
	counted, err := listen(netip.AddrPortFrom(ip, uint16(*count)), syscall.SOCK_DGRAM)
	if err != nil {
		return err
	}
	if err := syscall.SetsockoptInt(counted, syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("setsockopt: %w", err)
	}
	asked, err := listen(netip.AddrPortFrom(ip, uint16(*count)), syscall.SOCK_STREAM)
	if err != nil {
		return err
	}
	go accept(asked, *cpu, func(fd int) error { return answerCount(fd, counted) }, failed)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-ended:
		return nil
	case err := <-failed:
		return err
	}
}

// serveMemory is that of a server, in bytes, beyond which memory is collected.
const serveMemory = 256 << 20

func listen(address netip.AddrPort, kind int) (int, error) {
	family, to := sockaddr(address)
	fd, err := syscall.Socket(family, kind|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return -1, fmt.Errorf("setsockopt: %w", err)
	}
	if err := syscall.Bind(fd, to); err != nil {
		return -1, fmt.Errorf("listen on %s: %w", address, err)
	}
	if kind == syscall.SOCK_STREAM {
		if err := syscall.Listen(fd, 1024); err != nil {
			return -1, fmt.Errorf("listen on %s: %w", address, err)
		}
		return fd, nil
	}
	// Room for a whole burst: what finds it full is lost by the server, not by the network.
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soRcvbufForce, 64<<20); err != nil {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 64<<20)
	}
	return fd, nil
}

const soRcvbufForce = 33 // SO_RCVBUFFORCE of asm-generic/socket.h; wants CAP_NET_ADMIN

// urgently: all threads that answer are urgent.
var urgently bool

func thread(cpu int, work func() error, failed chan<- error) {
	if err := settle(cpu); err != nil {
		failed <- err
		return
	}
	if urgently {
		urgent()
	}
	if err := work(); err != nil {
		failed <- err
	}
}

// accept answers each connection in a thread of its own; a connection that breaks ends alone.
func accept(listener int, cpu int, answer func(int) error, failed chan<- error) {
	thread(cpu, func() error {
		for {
			fd, _, err := syscall.Accept4(listener, syscall.SOCK_CLOEXEC)
			if err == syscall.EINTR || err == syscall.ECONNABORTED {
				continue
			}
			if err != nil {
				return fmt.Errorf("accept: %w", err)
			}
			_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
			go thread(cpu, func() error {
				_ = answer(fd)
				syscall.Close(fd)
				return nil
			}, failed)
		}
	}, failed)
}

// echoes has the buffers of connections that have ended: a load opens hundreds a second.
var echoes = sync.Pool{New: func() any { return new([1 << 16]byte) }}

func answerEcho(fd int) error {
	room := echoes.Get().(*[1 << 16]byte)
	defer echoes.Put(room)
	buffer := room[:]
	for {
		n, err := readOpen(fd, buffer)
		if err != nil {
			return err
		}
		if err := writeAll(fd, buffer[:n]); err != nil {
			return err
		}
	}
}

func answerSink(fd int) error {
	head := make([]byte, 8)
	if err := readAll(fd, head); err != nil {
		return err
	}
	size := int64(order.Uint64(head))
	word := []byte{1}
	for left := size; ; {
		n, err := readOpen(fd, content)
		if err != nil {
			return err
		}
		for left -= int64(n); left <= 0; left += size {
			if err := writeAll(fd, word); err != nil {
				return err
			}
		}
	}
}

func echoDatagrams(fd int) error {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := syscall.Recvfrom(fd, buffer, 0)
		if err == syscall.EINTR || err == syscall.ECONNREFUSED {
			continue
		}
		if err != nil {
			return fmt.Errorf("recvfrom: %w", err)
		}
		_ = syscall.Sendto(fd, buffer[:n], 0, from)
	}
}

// answerCount empties the socket of datagrams when it is asked, and says in what time they came (from
// the first to the last, by the kernel's time stamps, in nanoseconds) and how many there were.
func answerCount(fd int, datagrams int) error {
	word, answer := make([]byte, 1), make([]byte, 12)
	message := newMessage()
	for {
		if err := readAll(fd, word); err != nil {
			return err
		}
		came, first, last := uint32(0), int64(0), int64(0)
		for {
			at, more := message.receive(datagrams)
			if !more {
				break
			}
			if came == 0 {
				first = at
			}
			last = at
			came++
		}
		order.PutUint64(answer, uint64(last-first))
		order.PutUint32(answer[8:], came)
		if err := writeAll(fd, answer); err != nil {
			return err
		}
	}
}

// message is room for a datagram and its time stamp.
type message struct {
	buffer  [1 << 16]byte
	control [64]byte
	part    syscall.Iovec
	header  syscall.Msghdr
}

func newMessage() *message {
	m := &message{}
	m.part.Base = &m.buffer[0]
	m.part.SetLen(len(m.buffer))
	m.header.Iov, m.header.Iovlen = &m.part, 1
	return m
}

// receive takes a datagram that has come, and tells when, in nanoseconds (SCM_TIMESTAMPNS of
// socket(7), the only message that is asked for).
func (m *message) receive(fd int) (int64, bool) {
	m.header.Control = &m.control[0]
	m.header.SetControllen(len(m.control))
	_, _, errno := syscall.RawSyscall(
		syscall.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), syscall.MSG_DONTWAIT)
	if errno != 0 {
		return 0, false
	}
	stamp := m.control[syscall.CmsgLen(0):]
	return int64(order.Uint64(stamp))*1_000_000_000 + int64(order.Uint64(stamp[8:])), true
}
