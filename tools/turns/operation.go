package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
)

// An operation is one thing that is timed. prepare is done before each and is not timed.
type operation interface {
	prepare() error
	do() error
	close()
}

// What a client is asked to do, as run writes it to the client's standard input.
type task struct {
	// Operation is roundtrip, connect, http, dns, transfer, datagram or burst.
	Operation string `json:"operation"`
	// Address is where it goes: an IP address and a port.
	Address string `json:"address"`
	// CPU that the client is pinned to; -1 for any.
	CPU int `json:"cpu"`
	// Bytes of a message, a transfer, or a datagram.
	Bytes int `json:"bytes"`
	// Datagrams of a burst.
	Datagrams int `json:"datagrams"`
	// Name is the host of an HTTP request, or the name that DNS is asked for.
	Name string `json:"name"`
	// Path of an HTTP request.
	Path string `json:"path"`
	// PauseMicroseconds lie between two operations of a turn.
	PauseMicroseconds int `json:"pause_us"`
	// Renew makes the sockets of each turn anew.
	Renew bool `json:"renew"`
	// CongestionControl is set on TCP sockets; empty for the namespace's own.
	CongestionControl string `json:"congestion_control"`
	// TimeoutSeconds bounds every read and write.
	TimeoutSeconds int64 `json:"timeout_s"`
}

func newOperation(t task) (operation, error) {
	address, err := netip.ParseAddrPort(t.Address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", t.Address, err)
	}
	if t.TimeoutSeconds <= 0 {
		t.TimeoutSeconds = 2
	}
	switch t.Operation {
	case "roundtrip":
		return newRoundtrip(t, address)
	case "connect":
		return &connect{task: t, address: address, fd: -1}, nil
	case "http":
		return newHTTP(t, address)
	case "dns":
		return newDNS(t, address)
	case "transfer":
		return newTransfer(t, address)
	case "datagram":
		return newDatagram(t, address)
	case "burst":
		return newBurst(t, address)
	}
	return nil, fmt.Errorf("operation %q: must be roundtrip, connect, http, dns, transfer, datagram or burst", t.Operation)
}

// stream is a kept TCP connection to one of serve's ports.
func stream(t task, address netip.AddrPort) (int, error) {
	fd, err := open(address, syscall.SOCK_STREAM, t.TimeoutSeconds)
	if err != nil {
		return -1, err
	}
	if t.CongestionControl != "" {
		if err := syscall.SetsockoptString(fd, syscall.IPPROTO_TCP, tcpCongestion, t.CongestionControl); err != nil {
			syscall.Close(fd)
			return -1, fmt.Errorf("congestion control %s: %w", t.CongestionControl, err)
		}
	}
	_, to := sockaddr(address)
	if err := syscall.Connect(fd, to); err != nil {
		syscall.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", address, err)
	}
	return fd, nil
}

const tcpCongestion = 13 // TCP_CONGESTION of linux/tcp.h

// roundtrip sends a message and waits for its echo, over one kept TCP connection.
type roundtrip struct {
	fd   int
	sent []byte
	back []byte
}

func newRoundtrip(t task, address netip.AddrPort) (operation, error) {
	fd, err := stream(t, address)
	if err != nil {
		return nil, err
	}
	size := max(t.Bytes, 1)
	return &roundtrip{fd, make([]byte, size), make([]byte, size)}, nil
}

func (o *roundtrip) prepare() error { return nil }
func (o *roundtrip) close()         { hangUp(o.fd) }
func (o *roundtrip) do() error {
	if err := writeAll(o.fd, o.sent); err != nil {
		return err
	}
	return readAll(o.fd, o.back)
}

// connect makes one TCP connection; the socket is made before, the end comes after the timing.
type connect struct {
	task    task
	address netip.AddrPort
	fd      int
}

func (o *connect) prepare() (err error) {
	o.close()
	o.fd, err = open(o.address, syscall.SOCK_STREAM, o.task.TimeoutSeconds)
	return err
}

func (o *connect) do() error {
	_, to := sockaddr(o.address)
	if err := syscall.Connect(o.fd, to); err != nil {
		return fmt.Errorf("connect to %s: %w", o.address, err)
	}
	return nil
}

func (o *connect) close() {
	if o.fd >= 0 {
		hangUp(o.fd)
		o.fd = -1
	}
}

// request is a GET over one kept HTTP/1.1 connection.
type request struct {
	fd     int
	sent   []byte
	buffer []byte
}

func newHTTP(t task, address netip.AddrPort) (operation, error) {
	fd, err := stream(t, address)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: turns\r\n\r\n", t.Path, t.Name)
	return &request{fd, []byte(text), make([]byte, 1<<16)}, nil
}

func (o *request) prepare() error { return nil }
func (o *request) close()         { hangUp(o.fd) }
func (o *request) do() error {
	if err := writeAll(o.fd, o.sent); err != nil {
		return err
	}
	got := 0
	for {
		n, err := readOpen(o.fd, o.buffer[got:])
		if err != nil {
			return err
		}
		got += n
		whole, err := complete(o.buffer[:got])
		if err != nil {
			return err
		}
		if whole {
			return nil
		}
		if got == len(o.buffer) {
			return fmt.Errorf("an answer of more than %d bytes", got)
		}
	}
}

// complete tells whether an answer is whole. Only 200 with a Content-Length is understood.
func complete(answer []byte) (bool, error) {
	end := bytes.Index(answer, []byte("\r\n\r\n"))
	if end < 0 {
		return false, nil
	}
	head := answer[:end]
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		line, _, _ := bytes.Cut(head, []byte("\r\n"))
		return false, fmt.Errorf("the server answers %q", line)
	}
	length := -1
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	if length < 0 {
		return false, fmt.Errorf("an answer without Content-Length")
	}
	return len(answer) >= end+4+length, nil
}

// question is a query for the IPv4 address of a name; its identifier, the first two bytes, is 0.
func question(name string) ([]byte, error) {
	// RFC 1035: identifier, flags (recursion desired), one question.
	text := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if len(label) == 0 || len(label) > 63 {
			return nil, fmt.Errorf("name %q: a label of %d bytes", name, len(label))
		}
		text = append(append(text, byte(len(label))), label...)
	}
	return append(text, 0, 0, 1, 0, 1), nil
}

// answers tells whether an answer is that to a query, and what is wrong with it then.
func answers(asked, answer []byte) (mine bool, err error) {
	if len(answer) < 12 || !bytes.Equal(answer[:2], asked[:2]) {
		return false, nil
	}
	if code := answer[3] & 0xf; code != 0 {
		return true, fmt.Errorf("the server answers with code %d", code)
	}
	if answer[6] == 0 && answer[7] == 0 {
		return true, fmt.Errorf("an answer without an address")
	}
	return true, nil
}

// query asks a DNS server for the IPv4 address of a name, by UDP.
type query struct {
	fd     int
	sent   []byte
	buffer []byte
}

func newDNS(t task, address netip.AddrPort) (operation, error) {
	text, err := question(t.Name)
	if err != nil {
		return nil, err
	}
	fd, err := dial(address, syscall.SOCK_DGRAM, t.TimeoutSeconds)
	if err != nil {
		return nil, err
	}
	return &query{fd, text, make([]byte, 1<<12)}, nil
}

func (o *query) prepare() error {
	order.PutUint16(o.sent, order.Uint16(o.sent)+1)
	return nil
}

func (o *query) close() { syscall.Close(o.fd) }
func (o *query) do() error {
	if err := writeAll(o.fd, o.sent); err != nil {
		return err
	}
	for {
		n, err := read(o.fd, o.buffer)
		if err != nil {
			return err
		}
		// An answer to an earlier query, which was given up, is passed over.
		if mine, err := answers(o.sent, o.buffer[:n]); mine {
			return err
		}
	}
}

// content is what transfers send and where the sink puts it, in pieces as iperf3 has them for TCP. It
// is the same for all connections, since memory is not collected, and new memory would be cold.
var content = make([]byte, 128<<10)

// transfer sends a number of bytes over a kept TCP connection and waits for the word that all came.
type transfer struct {
	fd    int
	bytes int
	data  []byte
	word  []byte
}

func newTransfer(t task, address netip.AddrPort) (operation, error) {
	if t.Bytes < 1 {
		return nil, fmt.Errorf("a transfer of %d bytes", t.Bytes)
	}
	fd, err := stream(t, address)
	if err != nil {
		return nil, err
	}
	o := &transfer{fd, t.Bytes, content[:min(t.Bytes, len(content))], make([]byte, 1)}
	// The sink is told how much one transfer is.
	head := make([]byte, 8)
	order.PutUint64(head, uint64(t.Bytes))
	return o, writeAll(fd, head)
}

func (o *transfer) prepare() error { return nil }
func (o *transfer) close()         { hangUp(o.fd) }
func (o *transfer) do() error {
	for left := o.bytes; left > 0; {
		n, err := write(o.fd, o.data[:min(left, len(o.data))])
		if err != nil {
			return err
		}
		left -= n
	}
	return readAll(o.fd, o.word)
}

// datagram sends a datagram and waits for its echo.
type datagram struct {
	fd   int
	sent []byte
	back []byte
}

func newDatagram(t task, address netip.AddrPort) (operation, error) {
	fd, err := dial(address, syscall.SOCK_DGRAM, t.TimeoutSeconds)
	if err != nil {
		return nil, err
	}
	size := max(t.Bytes, 4)
	return &datagram{fd, make([]byte, size), make([]byte, size)}, nil
}

func (o *datagram) prepare() error {
	order.PutUint32(o.sent, order.Uint32(o.sent)+1)
	return nil
}

func (o *datagram) close() { syscall.Close(o.fd) }
func (o *datagram) do() error {
	if err := writeAll(o.fd, o.sent); err != nil {
		return err
	}
	for {
		n, err := read(o.fd, o.back)
		if err != nil {
			return err
		}
		// An echo of an earlier datagram, which was given up, is passed over.
		if n == len(o.sent) && bytes.Equal(o.back[:4], o.sent[:4]) {
			return nil
		}
	}
}

// burst sends datagrams as fast as it can, and asks how many came and in what time. Both are the
// receiver's: how fast a sender can send says nothing of the path.
type burst struct {
	fd        int
	control   int
	datagrams int
	data      []byte
	answer    []byte
}

func newBurst(t task, address netip.AddrPort) (operation, error) {
	if t.Datagrams < 2 || t.Bytes < 1 {
		return nil, fmt.Errorf("a burst of %d datagrams of %d bytes", t.Datagrams, t.Bytes)
	}
	control, err := stream(t, address)
	if err != nil {
		return nil, err
	}
	fd, err := dial(address, syscall.SOCK_DGRAM, t.TimeoutSeconds)
	if err != nil {
		return nil, err
	}
	return &burst{fd, control, t.Datagrams, make([]byte, t.Bytes), make([]byte, 12)}, nil
}

func (o *burst) prepare() error { return nil }
func (o *burst) close()         { syscall.Close(o.fd); hangUp(o.control) }
func (o *burst) do() error {
	for range o.datagrams {
		if _, err := write(o.fd, o.data); err != nil {
			return err
		}
	}
	if err := writeAll(o.control, []byte{1}); err != nil {
		return err
	}
	if err := readAll(o.control, o.answer); err != nil {
		return err
	}
	if order.Uint32(o.answer[8:]) == 0 {
		return fmt.Errorf("no datagram of the burst came")
	}
	return nil
}

func (o *burst) result() record {
	span := min(order.Uint64(o.answer), uint64(failed)-1)
	return record{uint32(span), order.Uint32(o.answer[8:])}
}
