package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// failed stands in the place of a duration: the operation gave no number.
const failed = ^uint32(0)

// client does a task's operations. It reads the task, a line of JSON, and answers "ready"; then each
// word of four bytes is a number of operations to do, answered by as many records.
func client([]string) error {
	input := bufio.NewReader(os.Stdin)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("no task: %w", err)
	}
	var t task
	if err := json.Unmarshal(line, &t); err != nil {
		return fmt.Errorf("the task: %w", err)
	}
	if err := settle(t.CPU); err != nil {
		return err
	}
	op := renewed{task: t}
	if err := op.renew(); err != nil {
		return err
	}
	defer op.close()
	before := userTime()
	if err := writeAll(1, []byte("ready\n")); err != nil {
		return err
	}
	word, answer := make([]byte, 4), make([]byte, 0, 1<<16)
	for {
		if err := readAll(0, word); err != nil {
			// run has ended: what was spent outside the kernel, in nanoseconds
			return writeAll(1, order.AppendUint64(nil, uint64(userTime()-before)))
		}
		count := int(order.Uint32(word))
		answer = answer[:0]
		if t.Renew {
			op.close()
		}
		for range count {
			record, err := op.timed()
			if err != nil {
				return err
			}
			answer = order.AppendUint32(order.AppendUint32(answer, record.nanoseconds), record.count)
		}
		if err := writeAll(1, answer); err != nil {
			return err
		}
	}
}

// A record is what one operation took, in nanoseconds, and how many datagrams came of a burst.
type record struct{ nanoseconds, count uint32 }

// counted is an operation that tells itself how long it took, and of how many datagrams.
type counted interface{ result() record }

// mostFailures is how many operations in a row may fail: a path that carries nothing would use up the
// others' time, each operation as much of it as a timeout takes.
const mostFailures = 3

// renewed does a task's operations. After one that failed it makes its sockets anew: on a connection
// that is out of step, the next operation would be answered by what was late for the last.
type renewed struct {
	task     task
	current  operation
	failures int
}

func (r *renewed) renew() (err error) {
	r.current, err = newOperation(r.task)
	return err
}

func (r *renewed) close() {
	if r.current != nil {
		r.current.close()
		r.current = nil
	}
}

// timed does one operation. The error is that of the last of too many that failed.
func (r *renewed) timed() (record, error) {
	result := record{failed, 0}
	var err error
	if r.current == nil {
		err = r.renew()
	}
	if err == nil {
		result, err = timed(r.current, r.task.PauseMicroseconds)
	}
	if err == nil {
		r.failures = 0
		return result, nil
	}
	r.close()
	if r.failures++; r.failures < mostFailures {
		return result, nil
	}
	return result, fmt.Errorf("%d operations in a row failed, %s to %s: %w",
		r.failures, r.task.Operation, r.task.Address, err)
}

func timed(op operation, pause int) (record, error) {
	if pause > 0 {
		sleep(int64(pause) * 1_000)
	}
	if err := op.prepare(); err != nil {
		return record{failed, 0}, err
	}
	start := now()
	err := op.do()
	took := now() - start
	if err != nil {
		return record{failed, 0}, err
	}
	if c, ok := op.(counted); ok {
		return c.result(), nil
	}
	return record{uint32(min(took, int64(failed)-1)), 0}, nil
}

// A subject is one path: the task, the words by which its client is started in its pod, and the
// cpu.stat files whose usage_usec add up to the CPU time of its nodes (none where it is not told).
type subject struct {
	Name  string   `json:"name"`
	Enter []string `json:"enter"`
	Usage []string `json:"usage"`
	Task  task     `json:"task"`
}

type plan struct {
	Subjects []subject `json:"subjects"`
	// Drop is how many operations at the start of a turn meet what the others have left in the
	// caches; Batch is how many follow.
	Drop  int `json:"drop"`
	Batch int `json:"batch"`
	// Milliseconds is how long the turns take in all.
	Milliseconds int64  `json:"milliseconds"`
	Seed         uint64 `json:"seed"`
	CPU          int    `json:"cpu"`
}

// What run tells before the turns, as a line of JSON. By subject: an error, where its client could
// not go on, and the CPU time that its client spent outside the kernel.
type head struct {
	Drop   int      `json:"drop"`
	Batch  int      `json:"batch"`
	Turns  int      `json:"turns"`
	Errors []string `json:"errors"`
	UserNS []int64  `json:"user_ns"`
}

// A client of a subject, and what it is reached by. With an error it takes no further turn.
type started struct {
	subject subject
	command *exec.Cmd
	words   io.WriteCloser
	answers *bufio.Reader
	said    *tail
	usage   []*os.File
	err     error
}

// tail keeps what a client last said on its standard error.
type tail struct {
	lock sync.Mutex
	text []byte
}

func (t *tail) Write(data []byte) (int, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.text = append(t.text, data...)
	t.text = t.text[max(0, len(t.text)-2_000):]
	return len(data), nil
}

func (t *tail) lastLine() string {
	t.lock.Lock()
	defer t.lock.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.text)), "\n")
	return lines[len(lines)-1]
}

// run gives the turns. It reads the plan, JSON, from standard input and writes to standard output,
// once all is over: the head, a line of JSON, and the turns, each of 40 bytes (subject and cycle as
// uint32, start in monotonic nanoseconds as uint64, wall minus monotonic clock as int64, CPU time of
// the subject's nodes before and after it in microseconds as uint64) and a record per operation.
func run(arguments []string) error {
	flags := flag.NewFlagSet("turns run", flag.ContinueOnError)
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	var p plan
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	if len(p.Subjects) == 0 || p.Batch < 1 || p.Drop < 0 {
		return fmt.Errorf("a plan without subjects or operations")
	}
	if err := settle(p.CPU); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM, syscall.SIGINT)
	clients := make([]*started, len(p.Subjects))
	for i, each := range p.Subjects {
		clients[i] = &started{subject: each, said: &tail{}}
		clients[i].err = clients[i].start(self)
	}
	told := head{Drop: p.Drop, Batch: p.Batch}
	turns, err := take(p, clients, stopped)
	for _, each := range clients {
		told.UserNS = append(told.UserNS, each.end())
		why := ""
		if each.err != nil {
			why = strings.TrimSpace(each.err.Error() + ": " + each.said.lastLine())
		}
		told.Errors = append(told.Errors, why)
	}
	if err != nil {
		return err
	}
	told.Turns = len(turns) / turnSize(p)
	text, err := json.Marshal(told)
	if err != nil {
		return err
	}
	if err := writeAll(1, append(text, '\n')); err != nil {
		return err
	}
	return writeAll(1, turns)
}

func (s *started) start(self string) error {
	argv := append(append([]string{}, s.subject.Enter...), self, "client")
	s.command = exec.Command(argv[0], argv[1:]...)
	s.command.Stderr = s.said
	// They end with this program, however it ends.
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if s.words, err = s.command.StdinPipe(); err != nil {
		return err
	}
	answers, err := s.command.StdoutPipe()
	if err != nil {
		return err
	}
	for _, path := range s.subject.Usage {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		s.usage = append(s.usage, file)
	}
	if err := s.command.Start(); err != nil {
		s.command = nil
		return err
	}
	s.answers = bufio.NewReaderSize(answers, 1<<16)
	text, err := json.Marshal(s.subject.Task)
	if err != nil {
		return err
	}
	if _, err := s.words.Write(append(text, '\n')); err != nil {
		return err
	}
	if line, err := s.answers.ReadString('\n'); err != nil || line != "ready\n" {
		return fmt.Errorf("its client did not start")
	}
	return nil
}

// end waits for the client's end. It tells what the client has spent outside the kernel while it took
// turns, in nanoseconds of CPU time; 0 where it has ended before.
func (s *started) end() int64 {
	for _, file := range s.usage {
		file.Close()
	}
	if s.command == nil || s.command.Process == nil {
		return 0
	}
	s.words.Close()
	word := make([]byte, 8)
	if _, err := io.ReadFull(s.answers, word); err != nil {
		order.PutUint64(word, 0)
	}
	_ = s.command.Wait()
	return int64(order.Uint64(word))
}

// spent is the CPU time of the subject's nodes in microseconds; 0 where it is not told.
func (s *started) spent() uint64 {
	total := uint64(0)
	buffer := make([]byte, 256)
	for _, file := range s.usage {
		n, err := syscall.Pread(int(file.Fd()), buffer, 0)
		if err != nil {
			s.err = fmt.Errorf("%s: %w", file.Name(), err)
			return 0
		}
		// "usage_usec 123\nuser_usec …" (Linux, "Control Group v2").
		line, _, _ := bytes.Cut(buffer[:n], []byte("\n"))
		value, err := strconv.ParseUint(string(bytes.TrimPrefix(line, []byte("usage_usec "))), 10, 64)
		if err != nil {
			s.err = fmt.Errorf("%s: %w", file.Name(), err)
			return 0
		}
		total += value
	}
	return total
}

const turnHead = 40

func turnSize(p plan) int { return turnHead + 8*(p.Drop+p.Batch) }

// take gives turns until the time is over. A subject whose client ends takes no further one.
func take(p plan, clients []*started, stopped <-chan os.Signal) ([]byte, error) {
	word, size := make([]byte, 4), turnSize(p)
	order.PutUint32(word, uint32(p.Drop+p.Batch))
	random := rand.New(rand.NewPCG(p.Seed, 0))
	all := make([]byte, 0, 64<<20)
	deadline := now() + p.Milliseconds*int64(time.Millisecond)
	for cycle := uint32(0); now() < deadline; cycle++ {
		for _, which := range random.Perm(len(clients)) {
			select {
			case <-stopped:
				return nil, fmt.Errorf("stopped")
			default:
			}
			one := clients[which]
			if one.err != nil {
				continue
			}
			all = append(all, make([]byte, size)...)
			turn := all[len(all)-size:]
			order.PutUint32(turn[0:], uint32(which))
			order.PutUint32(turn[4:], cycle)
			order.PutUint64(turn[24:], one.spent())
			began := now()
			order.PutUint64(turn[8:], uint64(began))
			order.PutUint64(turn[16:], uint64(time.Now().UnixNano()-began))
			_, err := one.words.Write(word)
			if err == nil {
				_, err = io.ReadFull(one.answers, turn[turnHead:])
			}
			if err != nil {
				one.err = fmt.Errorf("its client has ended")
				all = all[:len(all)-size]
				// The others are to have their time.
				deadline += now() - began
				continue
			}
			order.PutUint64(turn[32:], one.spent())
		}
	}
	return all, nil
}
