package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The test's own program is the generator as well: run starts its clients from it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		return
	}
	os.Exit(m.Run())
}

// ports of the echo, the sink and the count, where serve answers.
func serving(t *testing.T) (ports [3]int) {
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	t.Cleanup(start(t, "serve", "-host", "127.0.0.1", fmt.Sprintf("-echo=%d", ports[0]),
		fmt.Sprintf("-sink=%d", ports[1]), fmt.Sprintf("-count=%d", ports[2])))
	return ports
}

func start(t *testing.T, arguments ...string) (end func()) {
	command := exec.Command(os.Args[0], arguments...)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}
}

// answering waits until something listens.
func answering(t *testing.T, port int) string {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for range 500 {
		if connection, err := net.Dial("tcp", address); err == nil {
			connection.Close()
			return address
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nothing answers at %s", address)
	return ""
}

type turn struct {
	subject, cycle uint32
	records        []record
}

const drop, batch = 2, 6

// taken is what run tells of these tasks, in 150 ms of turns.
func taken(t *testing.T, seed uint64, tasks ...task) (head, []turn) {
	asked := plan{Drop: drop, Batch: batch, Milliseconds: 150, Seed: seed, CPU: -1}
	for i, each := range tasks {
		each.CPU = -1
		asked.Subjects = append(asked.Subjects, subject{Name: fmt.Sprint(i), Task: each})
	}
	text, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0], "run")
	command.Stdin = bytes.NewReader(text)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	first, data, _ := bytes.Cut(output, []byte("\n"))
	var told head
	if err := json.Unmarshal(first, &told); err != nil {
		t.Fatal(err)
	}
	size := turnSize(asked)
	if len(data) != told.Turns*size || told.Turns == 0 {
		t.Fatalf("%d bytes of %d turns", len(data), told.Turns)
	}
	var turns []turn
	for ; len(data) > 0; data = data[size:] {
		one := turn{subject: order.Uint32(data), cycle: order.Uint32(data[4:])}
		for at := turnHead; at < size; at += 8 {
			one.records = append(one.records, record{order.Uint32(data[at:]), order.Uint32(data[at+4:])})
		}
		turns = append(turns, one)
	}
	return told, turns
}

// failures is how many operations of a subject failed.
func failures(turns []turn, subject uint32) (count int) {
	for _, each := range turns {
		for _, one := range each.records {
			if each.subject == subject && one.nanoseconds == failed {
				count++
			}
		}
	}
	return count
}

func TestEveryOperationIsAnsweredByServe(t *testing.T) {
	ports := serving(t)
	echo, sink, count := answering(t, ports[0]), answering(t, ports[1]), answering(t, ports[2])
	for _, each := range []task{
		{Operation: "roundtrip", Address: echo, Bytes: 24},
		{Operation: "connect", Address: echo},
		{Operation: "datagram", Address: echo, Bytes: 64},
		{Operation: "transfer", Address: sink, Bytes: 1 << 20},
		{Operation: "burst", Address: count, Bytes: 64, Datagrams: 32},
	} {
		t.Run(each.Operation, func(t *testing.T) {
			told, turns := taken(t, 1, each, each)
			if told.Errors[0] != "" || told.Errors[1] != "" {
				t.Errorf("errors: %q", told.Errors)
			}
			if n := failures(turns, 0) + failures(turns, 1); n > 0 {
				t.Errorf("%d operations failed", n)
			}
			for i, one := range turns {
				if one.cycle != uint32(i/2) {
					t.Fatalf("turn %d is of cycle %d: not each subject once", i, one.cycle)
				}
				for _, r := range one.records {
					if r.nanoseconds == 0 || r.count != uint32(each.Datagrams) {
						t.Fatalf("an operation of %d ns, %d datagrams", r.nanoseconds, r.count)
					}
				}
			}
		})
	}
}

func TestTheOrderFollowsTheSeed(t *testing.T) {
	echo := task{Operation: "roundtrip", Address: answering(t, serving(t)[0]), Bytes: 24}
	orders := [3]string{}
	for i, seed := range []uint64{1, 1, 2} {
		_, turns := taken(t, seed, echo, echo, echo)
		for _, one := range turns[:min(60, len(turns))] {
			orders[i] += fmt.Sprint(one.subject)
		}
	}
	if orders[0] != orders[1] || orders[0] == orders[2] {
		t.Errorf("orders by seeds 1, 1 and 2: %q", orders)
	}
}

// breaking echoes, and breaks each connection after so many round trips of one byte; it takes a new
// one again, or is gone after the first.
func breaking(t *testing.T, after int, again bool) task {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.CopyN(connection, connection, int64(after))
			connection.Close()
			if !again {
				listener.Close()
			}
		}
	}()
	return task{Operation: "roundtrip", Address: listener.Addr().String(), Bytes: 1}
}

func TestAServerThatIsGoneEndsOnlyItsOwnSubject(t *testing.T) {
	echo := task{Operation: "roundtrip", Address: answering(t, serving(t)[0]), Bytes: 24}
	told, turns := taken(t, 1, echo, breaking(t, 20, false))
	if told.Errors[0] != "" || failures(turns, 0) > 0 {
		t.Errorf("the other subject: %q, %d failures", told.Errors[0], failures(turns, 0))
	}
	if !strings.Contains(told.Errors[1], "3 operations in a row failed, roundtrip to 127.0.0.1:") {
		t.Errorf("its own: %q", told.Errors[1])
	}
	if last := turns[len(turns)-1]; last.subject != 0 || last.cycle < 10 {
		t.Errorf("the last turn is %d's, of cycle %d", last.subject, last.cycle)
	}
	// 20 round trips are two whole turns and half a third.
	if n := len(turns) - int(turns[len(turns)-1].cycle) - 1; n != 2 {
		t.Errorf("%d turns of a subject that was gone in its third", n)
	}
}

func TestAConnectionThatBreaksIsMadeAnew(t *testing.T) {
	told, turns := taken(t, 1, breaking(t, 20, true))
	made := len(turns) * (drop + batch)
	// 20 succeed, one fails, over and over.
	if want := made / 21; told.Errors[0] != "" || failures(turns, 0) != want {
		t.Errorf("%d of %d operations failed instead of %d (%q)", failures(turns, 0), made, want, told.Errors[0])
	}
}

func TestEveryTurnHasAConnectionOfItsOwnWhereItIsAskedFor(t *testing.T) {
	for renew, wanted := range map[bool]func(connections, turns int) bool{
		true:  func(connections, turns int) bool { return connections == turns+1 }, // one at the start
		false: func(connections, _ int) bool { return connections == 1 },
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var accepted atomic.Int64
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				accepted.Add(1)
				go io.Copy(connection, connection)
			}
		}()
		_, turns := taken(t, 1, task{
			Operation: "roundtrip", Address: listener.Addr().String(), Bytes: 24, Renew: renew,
		})
		listener.Close()
		if !wanted(int(accepted.Load()), len(turns)) {
			t.Errorf("renew %v: %d connections in %d turns", renew, accepted.Load(), len(turns))
		}
	}
}
