package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// loaded is what load tells of these streams, and of each the requests.
//
// meanwhile is done to the load while it runs.
func loaded(t *testing.T, milliseconds int64, meanwhile func(*os.Process), streams ...loadStream) (loadHead, [][]requestRecord) {
	text, err := json.Marshal(loadPlan{Milliseconds: milliseconds, CPU: -1, Streams: streams})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0], "load", string(text))
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	meanwhile(command.Process)
	if err := command.Wait(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(output.String()), "\n")
	var told loadHead
	if err := json.Unmarshal([]byte(lines[0]), &told); err != nil {
		t.Fatal(err)
	}
	if len(told.Streams) != len(streams) || len(lines) != len(streams)+1 {
		t.Fatalf("%d streams in %d lines", len(told.Streams), len(lines))
	}
	all := make([][]requestRecord, len(streams))
	for i, line := range lines[1:] {
		data, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(data) != 12*told.Streams[i].Requests {
			t.Fatalf("%d bytes of %d requests: %v", len(data), told.Streams[i].Requests, err)
		}
		for ; len(data) > 0; data = data[12:] {
			all[i] = append(all[i], requestRecord{order.Uint32(data), order.Uint32(data[4:]), order.Uint32(data[8:])})
		}
	}
	return told, all
}

func undisturbedLoad(*os.Process) {}

// outcomes is how many requests came to each end.
func outcomes(records []requestRecord) map[uint32]int {
	counts := map[uint32]int{}
	for _, each := range records {
		counts[each.outcome]++
	}
	return counts
}

// naming answers DNS queries with one address, but for every so-manieth, which it passes over.
func naming(t *testing.T, lost int) string {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		buffer := make([]byte, 512)
		for n := 1; ; n++ {
			size, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			buffer[2], buffer[7] = 0x80, 1
			if n%lost > 0 {
				_, _ = socket.WriteTo(buffer[:size], from)
			}
		}
	}()
	return socket.LocalAddr().String()
}

func TestEveryRequestOfALoadIsSentWhenItIsDueAndAnswered(t *testing.T) {
	echo := answering(t, serving(t)[0])
	told, all := loaded(t, 500, undisturbedLoad,
		loadStream{Name: "kept", Operation: "kept", Address: echo, Rate: 200, Connections: 5},
		loadStream{Name: "new", Operation: "new", Address: echo, Rate: 200},
		loadStream{Name: "udp", Operation: "udp", Address: echo, Rate: 200},
		loadStream{Name: "dns", Operation: "dns", Address: naming(t, 1_000), Rate: 200, Host: "a.b."})
	for i, records := range all {
		head := told.Streams[i]
		if counts := outcomes(records); counts[answered] != 100 || len(records) != 100 {
			t.Errorf("%s: %v of 100 requests", head.Name, counts)
		}
		if head.IntervalNS != 5_000_000 || head.OffsetNS != int64(i)*1_250_000 || len(head.Broken) > 0 {
			t.Errorf("%s: %+v", head.Name, head)
		}
		for _, each := range records {
			if each.took < each.late {
				t.Errorf("%s: answered after %d µs, sent after %d", head.Name, each.took, each.late)
			}
		}
	}
	if told.CPUMicroseconds <= 0 {
		t.Errorf("CPU time of %d µs", told.CPUMicroseconds)
	}
}

func TestQueriesWithoutAnAnswerAreLostAndOthersAreNot(t *testing.T) {
	_, all := loaded(t, 500, undisturbedLoad,
		loadStream{Name: "dns", Operation: "dns", Address: naming(t, 10), Rate: 200, Host: "a.b."})
	if counts := outcomes(all[0]); counts[answered] != 90 || counts[unanswered] != 10 {
		t.Errorf("%v of 100 queries, of which every tenth had no answer", counts)
	}
}

func TestWhereNobodyListensRequestsAreRefusedAndNoKeptConnectionIsBroken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	listener.Close()
	told, all := loaded(t, 200, undisturbedLoad,
		loadStream{Name: "kept", Operation: "kept", Address: nobody, Rate: 100, Connections: 2},
		loadStream{Name: "new", Operation: "new", Address: nobody, Rate: 100})
	for i, records := range all {
		if counts := outcomes(records); counts[refused] != 20 || len(told.Streams[i].Broken) > 0 {
			t.Errorf("%v of 20 requests, broken: %v", counts, told.Streams[i].Broken)
		}
	}
}

func TestAConnectionThatTheOtherEndBreaksIsCountedAndMadeAnew(t *testing.T) {
	// 20 echoes of 24 bytes each.
	address := breaking(t, 20*messageSize, true).Address
	told, all := loaded(t, 500, undisturbedLoad,
		loadStream{Name: "kept", Operation: "kept", Address: address, Rate: 100, Connections: 1})
	if n := len(told.Streams[0].Broken); n != 2 {
		t.Errorf("%d broken connections in 50 requests, of which each has 20: %+v", n, told.Streams[0].Broken)
	}
	if counts := outcomes(all[0]); counts[answered] < 48 {
		t.Errorf("%v of 50 requests", counts)
	}
}

func TestAClientThatIsStoppedIsToldByHowLateItSends(t *testing.T) {
	echo := answering(t, serving(t)[0])
	_, all := loaded(t, 700, func(process *os.Process) {
		time.Sleep(250 * time.Millisecond)
		_ = process.Signal(syscall.SIGSTOP)
		time.Sleep(200 * time.Millisecond)
		_ = process.Signal(syscall.SIGCONT)
	}, loadStream{Name: "udp", Operation: "udp", Address: echo, Rate: 250})
	latest := uint32(0)
	for _, each := range all[0] {
		latest = max(latest, each.late)
	}
	if latest < 180_000 || latest > 400_000 {
		t.Errorf("stopped for 200 ms, it sends up to %d µs late", latest)
	}
}
