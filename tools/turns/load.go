package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"
)

// The load is open: each request is sent when it is due, whatever became of those before it. All of
// it is one thread that waits for the next due time or the next answer, so that whatever keeps this
// program from running shows in how late it sends.

// silence is after how long without an answer a client gives a socket up, in nanoseconds: a kept
// connection (TCP has sent again three times by then), a new one, a query, a flow of datagrams.
const silence = int64(3 * time.Second)

// drain is how long answers are awaited once all requests were sent, in nanoseconds.
const drain = int64(time.Second)

// messageSize is that of requests but for queries, and of their echoes.
const messageSize = 24

// What became of a request.
const (
	unanswered  = iota // there was no answer as long as it was waited for
	answered           // the answer is there, however late
	refused            // by the other end
	reset              // its connection was broken
	unreachable        // the kernel found no way, or another error
)

// nothing stands in the place of a time that there is not.
const nothing = ^uint32(0)

type loadPlan struct {
	// Milliseconds is how long requests are sent.
	Milliseconds int64        `json:"milliseconds"`
	CPU          int          `json:"cpu"`
	Streams      []loadStream `json:"streams"`
}

type loadStream struct {
	Name string `json:"name"`
	// Operation is kept, new (both are echoed over TCP), dns or udp (echoed).
	Operation string `json:"operation"`
	Address   string `json:"address"`
	// Rate is in requests/s.
	Rate int64 `json:"rate"`
	// Connections of kept, which take turns.
	Connections int `json:"connections"`
	// Host that dns asks for.
	Host string `json:"host"`
}

// What load tells: a line of JSON, and for each stream a line of base64 with 12 bytes a request, three
// uint32: by how many µs after its due time it had been sent, after how many it was answered (nothing: it
// was not), and what became of it. Request i of a stream is due at OffsetNS + i * IntervalNS.
type loadHead struct {
	// BeganNS is the wall clock when time 0 was.
	BeganNS int64 `json:"began_ns"`
	// CPUMicroseconds is the CPU time of this program meanwhile.
	CPUMicroseconds int64        `json:"cpu_us"`
	Streams         []streamHead `json:"streams"`
}

type streamHead struct {
	Name       string `json:"name"`
	OffsetNS   int64  `json:"offset_ns"`
	IntervalNS int64  `json:"interval_ns"`
	Requests   int    `json:"requests"`
	// Broken are the kept connections, or flows of datagrams, that did not last.
	Broken []broken `json:"broken"`
}

type broken struct {
	AtNS int64  `json:"at_ns"`
	Why  string `json:"why"`
}

type requestRecord struct{ late, took, outcome uint32 }

// A lane is one stream at work.
type lane struct {
	loadStream
	head     streamHead
	to       syscall.Sockaddr
	family   int
	question []byte
	records  []requestRecord
	next     int
	kept     []*socket // of kept and udp, by place
}

func (l *lane) due(i int) int64 { return l.head.OffsetNS + int64(i)*l.head.IntervalNS }

// answer notes that a request was answered, once.
func (l *lane) answer(i int, at int64) {
	if i < len(l.records) && l.records[i].outcome != answered {
		l.records[i].took = uint32((at - l.due(i)) / 1_000)
		l.records[i].outcome = answered
	}
}

func (l *lane) fail(i int, outcome uint32) {
	if l.records[i].outcome == unanswered {
		l.records[i].outcome = outcome
	}
}

// A socket of a lane. waiting are the requests that it owes an answer to, in their order; since is
// when the first of them was asked.
type socket struct {
	fd      int
	lane    *lane
	place   int
	open    bool
	waiting []int
	since   []int64
	unsent  []byte
	got     []byte
}

type loader struct {
	epoll   int
	zero    int64
	lanes   []*lane
	sockets map[int]*socket
	buffer  []byte
}

func load(arguments []string) error {
	flags := flag.NewFlagSet("turns load", flag.ContinueOnError)
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	var p loadPlan
	if err := json.Unmarshal([]byte(flags.Arg(0)), &p); err != nil {
		return fmt.Errorf("the plan, its only argument: %w", err)
	}
	if err := settle(p.CPU); err != nil {
		return err
	}
	l, err := newLoader(p)
	if err != nil {
		return err
	}
	urgent()
	before := processTime()
	began := time.Now().UnixNano()
	l.zero = now()
	if err := l.work(); err != nil {
		return err
	}
	told := loadHead{BeganNS: began, CPUMicroseconds: processTime() - before}
	for _, each := range l.lanes {
		told.Streams = append(told.Streams, each.head)
	}
	text, err := json.Marshal(told)
	if err != nil {
		return err
	}
	for _, each := range l.lanes {
		data := make([]byte, 0, 12*len(each.records))
		for _, r := range each.records {
			data = order.AppendUint32(order.AppendUint32(order.AppendUint32(data, r.late), r.took), r.outcome)
		}
		text = append(append(text, '\n'), base64.StdEncoding.EncodeToString(data)...)
	}
	return writeAll(1, append(text, '\n'))
}

func newLoader(p loadPlan) (*loader, error) {
	if len(p.Streams) == 0 || p.Milliseconds < 1 {
		return nil, fmt.Errorf("a plan without streams or time")
	}
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &loader{epoll: epoll, sockets: map[int]*socket{}, buffer: make([]byte, 1<<16)}
	for i, each := range p.Streams {
		address, err := netip.ParseAddrPort(each.Address)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", each.Address, err)
		}
		if each.Rate < 1 || each.Rate > 100_000 {
			return nil, fmt.Errorf("%s: %d requests/s", each.Name, each.Rate)
		}
		made := &lane{loadStream: each}
		made.family, made.to = sockaddr(address)
		interval := int64(time.Second) / each.Rate
		// Streams of one rate are sent evenly apart.
		made.head = streamHead{
			Name: each.Name, OffsetNS: interval * int64(i) / int64(len(p.Streams)), IntervalNS: interval,
			Broken: []broken{},
		}
		made.head.Requests = int(p.Milliseconds * int64(time.Millisecond) / interval)
		made.records = make([]requestRecord, made.head.Requests)
		for j := range made.records {
			made.records[j] = requestRecord{nothing, nothing, unanswered}
		}
		switch each.Operation {
		case "kept":
			made.kept = make([]*socket, max(each.Connections, 1))
		case "udp":
			made.kept = make([]*socket, 1)
		case "dns":
			if made.question, err = question(each.Host); err != nil {
				return nil, err
			}
		case "new":
		default:
			return nil, fmt.Errorf("operation %q: must be kept, new, dns or udp", each.Operation)
		}
		l.lanes = append(l.lanes, made)
	}
	return l, nil
}

// work sends all requests and waits for their answers, or until no more are waited for.
func (l *loader) work() error {
	last := int64(0)
	for _, each := range l.lanes {
		last = max(last, each.due(each.head.Requests))
	}
	events := make([]syscall.EpollEvent, 256)
	for {
		at := now() - l.zero
		next, left := last+drain, false
		for _, each := range l.lanes {
			for each.next < each.head.Requests && each.due(each.next) <= at {
				l.send(each, each.next, at)
				// It has left by now. What kept it until then shows.
				at = now() - l.zero
				each.records[each.next].late = uint32((at - each.due(each.next)) / 1_000)
				each.next++
			}
			if each.next < each.head.Requests {
				next, left = min(next, each.due(each.next)), true
			}
		}
		l.giveUp(at)
		if !left && (at >= last+drain || !l.waiting()) {
			return nil
		}
		n, err := epollWait(l.epoll, events, min(max(next-(now()-l.zero), 0), int64(50*time.Millisecond)))
		if err != nil {
			return err
		}
		for _, each := range events[:n] {
			if s := l.sockets[int(each.Fd)]; s != nil {
				l.ready(s, each.Events)
			}
		}
	}
}

func (l *loader) waiting() bool {
	for _, s := range l.sockets {
		if len(s.waiting) > 0 {
			return true
		}
	}
	return false
}

// giveUp closes the sockets that have been silent for too long.
func (l *loader) giveUp(at int64) {
	for _, s := range l.sockets {
		if len(s.since) > 0 && at-s.since[0] > silence {
			l.end(s, unanswered, "no answer for 3 s")
		}
	}
}

// send makes the request that is due.
func (l *loader) send(of *lane, i int, at int64) {
	place := -1
	var s *socket
	if of.kept != nil {
		place = i % len(of.kept)
		s = of.kept[place]
	}
	if s == nil {
		var err error
		if s, err = l.open(of, place); err != nil {
			of.fail(i, outcomeOf(err))
			return
		}
	}
	s.waiting, s.since = append(s.waiting, i), append(s.since, at)
	message := make([]byte, messageSize)
	order.PutUint64(message, uint64(i))
	if of.question != nil {
		message = append([]byte{}, of.question...)
		order.PutUint16(message, uint16(i))
	}
	s.unsent = append(s.unsent, message...)
	if s.open {
		l.flush(s)
	}
}

// open makes a socket of a lane; a connection may still be on its way.
func (l *loader) open(of *lane, place int) (*socket, error) {
	kind := syscall.SOCK_STREAM
	datagrams := of.Operation == "udp" || of.Operation == "dns"
	if datagrams {
		kind = syscall.SOCK_DGRAM
	}
	fd, err := syscall.Socket(of.family, kind|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if !datagrams {
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	err = syscall.Connect(fd, of.to)
	if err != nil && err != syscall.EINPROGRESS {
		syscall.Close(fd)
		return nil, err
	}
	s := &socket{fd: fd, lane: of, place: place, open: err == nil}
	interest := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
	if !s.open {
		interest.Events |= syscall.EPOLLOUT
	}
	if err := syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &interest); err != nil {
		syscall.Close(fd)
		return nil, err
	}
	l.sockets[fd] = s
	if place >= 0 {
		of.kept[place] = s
	}
	return s, nil
}

// flush sends what has not been sent yet.
func (l *loader) flush(s *socket) {
	for again := false; len(s.unsent) > 0; {
		n, err := syscall.Write(s.fd, s.unsent)
		if err == syscall.EINTR {
			continue
		}
		// What an earlier datagram met is told to the next one, which was not sent then.
		if err == syscall.ECONNREFUSED && s.lane.Operation == "udp" && !again {
			again = true
			continue
		}
		if err == syscall.EAGAIN {
			break
		}
		if err != nil {
			l.end(s, outcomeOf(err), err.Error())
			return
		}
		s.unsent = s.unsent[n:]
	}
	interest := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(s.fd)}
	if len(s.unsent) > 0 {
		interest.Events |= syscall.EPOLLOUT
	}
	_ = syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_MOD, s.fd, &interest)
}

func (l *loader) ready(s *socket, events uint32) {
	if events&(syscall.EPOLLOUT|syscall.EPOLLERR|syscall.EPOLLHUP) != 0 {
		number, err := syscall.GetsockoptInt(s.fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
		if err == nil && number != 0 {
			err = syscall.Errno(number)
		}
		// An ICMP error is about one datagram; the flow goes on.
		if err != nil && !(s.lane.Operation == "udp" && err == syscall.ECONNREFUSED) {
			l.end(s, outcomeOf(err), err.Error())
			return
		}
		if events&syscall.EPOLLOUT != 0 {
			s.open = true
			l.flush(s)
		}
	}
	for l.sockets[s.fd] == s {
		n, err := syscall.Read(s.fd, l.buffer)
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN || (err == syscall.ECONNREFUSED && s.lane.Operation == "udp") {
			return
		}
		if err == nil && n == 0 {
			err = errClosed
		}
		if err != nil {
			l.end(s, outcomeOf(err), err.Error())
			return
		}
		l.take(s, l.buffer[:n])
	}
}

var errClosed = errors.New("closed by the other end")

// take reads answers.
func (l *loader) take(s *socket, data []byte) {
	at := now() - l.zero
	of := s.lane
	switch of.Operation {
	case "dns":
		asked := append([]byte{}, of.question...)
		order.PutUint16(asked, uint16(s.waiting[0]))
		if mine, err := answers(asked, data); mine && err == nil {
			of.answer(s.waiting[0], at)
			l.end(s, answered, "")
		} else if mine {
			l.end(s, unreachable, err.Error())
		}
		return
	case "udp":
		if len(data) == messageSize {
			s.done(int(order.Uint64(data)), at)
		}
		return
	}
	for s.got = append(s.got, data...); len(s.got) >= messageSize; s.got = s.got[messageSize:] {
		s.done(int(order.Uint64(s.got)), at)
	}
	if of.Operation == "new" && len(s.waiting) == 0 {
		l.end(s, answered, "")
	}
}

// done notes an answer: what was asked before it on the same socket is no longer waited for, or is
// answered late.
func (s *socket) done(i int, at int64) {
	s.lane.answer(i, at)
	for place, each := range s.waiting {
		if each == i {
			s.waiting, s.since = s.waiting[place+1:], s.since[place+1:]
			return
		}
	}
}

// end closes a socket. What it still owes gets this outcome.
func (l *loader) end(s *socket, outcome uint32, why string) {
	for _, each := range s.waiting {
		s.lane.fail(each, outcome)
	}
	if s.lane.kept != nil {
		s.lane.kept[s.place] = nil
		if s.open {
			s.lane.head.Broken = append(s.lane.head.Broken, broken{now() - l.zero, why})
		}
	}
	s.waiting, s.since = nil, nil
	delete(l.sockets, s.fd)
	hangUp(s.fd)
}

func outcomeOf(err error) uint32 {
	switch err {
	case syscall.ECONNREFUSED:
		return refused
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, errClosed:
		return reset
	case syscall.ETIMEDOUT:
		return unanswered
	}
	return unreachable
}

// epollWait is epoll_pwait2(2), which takes nanoseconds (Linux 5.11).
func epollWait(epoll int, events []syscall.EpollEvent, nanoseconds int64) (int, error) {
	const epollPwait2 = 441
	wait := syscall.NsecToTimespec(nanoseconds)
	n, _, errno := syscall.RawSyscall6(epollPwait2, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(&wait)), 0, 0)
	if errno == syscall.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("epoll_pwait2: %w", errno)
	}
	return int(n), nil
}

// processTime is the CPU time of this process, in microseconds.
func processTime() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return (usage.Utime.Nano() + usage.Stime.Nano()) / 1_000
}
