package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"f2pad.example/engine"
	"f2pad.example/engine/dataset"

	"github.com/stretchr/testify/require"
)

// listen serves on a port of its own until the test, or stop, ends it.
func (st *stage) listen() (address string, stop func() error) {
	st.t.Helper()
	on, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(st.t, err)
	return on.Addr().String(), st.serve(on)
}

// serve serves until the test, or stop, ends it.
func (st *stage) serve(on net.Listener) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- st.Serve(ctx, on) }()
	st.t.Cleanup(cancel)
	return func() error { cancel(); return <-ended }
}

// wires is a listener whose connections are in memory: what goes over them takes none of the time of a bubble.
type wires struct {
	net.Listener // nil
	accepts      chan net.Conn
	closed       chan struct{}
}

func newWires() *wires { return &wires{accepts: make(chan net.Conn), closed: make(chan struct{})} }

func (w *wires) Addr() net.Addr { return &net.UnixAddr{} }

func (w *wires) Close() error {
	close(w.closed)
	return nil
}

func (w *wires) Accept() (net.Conn, error) {
	select {
	case c := <-w.accepts:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

// dial connects, and sends text.
func (w *wires) dial(t *testing.T, text string) (net.Conn, func() *http.Response) {
	t.Helper()
	c, its := net.Pipe()
	w.accepts <- its
	return c, talk(t, c, text)
}

// dial sends text on a connection of its own, and returns what reads the answers to it.
func dial(t *testing.T, address, text string) (net.Conn, func() *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	return c, talk(t, c, text)
}

// talk sends text, and returns what reads the answers to it.
func talk(t *testing.T, c net.Conn, text string) (answer func() *http.Response) {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
	r := bufio.NewReader(c)
	return func() *http.Response {
		t.Helper()
		answer, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		answer.Body = io.NopCloser(strings.NewReader(string(body)))
		return answer
	}
}

const head = "POST /v1/score HTTP/1.1\r\nHost: f2pad\r\n"

func TestSlowClientsAreCutOff(t *testing.T) {
	const limit = 3 * time.Second
	within(t, Options{ReadTimeout: limit}, func(t *testing.T, st *stage) {
		st.start()
		on := newWires()
		stop := st.serve(on)
		began := time.Now()
		_, answer := on.dial(t, head+"Content-Length: 100\r\n\r\nsome")
		require.Equal(t, http.StatusRequestTimeout, answer().StatusCode)
		require.Equal(t, limit, time.Since(began))

		began = time.Now()
		c, _ := on.dial(t, "POST /v1/sco")
		_, err := io.ReadAll(c)
		require.NoError(t, err, "the connection is closed without a word")
		require.Equal(t, limit, time.Since(began))

		// Who was in time is not cut off while its image is scored, and may ask again.
		c, answer = on.dial(t, head+"Content-Length: 1\r\n\r\n7")
		require.Equal(t, unnamed, <-st.began)
		time.Sleep(2 * limit) // a deadline that was left would end it
		st.goes <- nil
		require.Equal(t, http.StatusOK, answer().StatusCode)
		time.Sleep(2 * limit)
		_, err = io.WriteString(c, head+"Content-Length: 1\r\n\r\n7")
		require.NoError(t, err)
		st.step(t, nil)
		require.Equal(t, http.StatusOK, answer().StatusCode)
		require.NoError(t, stop())
	})
}

// Who closes the connection gives up its place.
func TestClosedConnectionsGiveUpTheirPlaces(t *testing.T) {
	body, media := form(t, map[string][2]string{"image": {"", "7"}}, "image")
	text, err := io.ReadAll(body)
	require.NoError(t, err)
	for _, rest := range []string{
		"Content-Length: 1\r\n\r\n7", "Transfer-Encoding: chunked\r\n\r\n1\r\n7\r\n0\r\n\r\n",
		fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s", media, len(text), text),
		fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s%s", media, len(text)+10000, text, strings.Repeat(" ", 10000)),
	} {
		closed(t, rest)
	}
}

// closed sends an image in some way, and closes the connection.
func closed(t *testing.T, rest string) {
	t.Helper()
	st := newStage(t, Options{Queue: 2}).start()
	address, stop := st.listen()
	_, first := dial(t, address, head+"Content-Length: 1\r\n\r\n7")
	<-st.began
	gone, _ := dial(t, address, strings.Replace(head, "score", "score?name=gone", 1)+rest)
	st.wait(func(places, waiting int) bool { return waiting == 1 })
	require.NoError(t, gone.Close())
	st.wait(func(places, waiting int) bool { return places == 1 && waiting == 0 })
	_, next := dial(t, address, strings.Replace(head, "score", "score?name=next", 1)+"Content-Length: 1\r\n\r\n7")
	st.wait(func(places, waiting int) bool { return waiting == 1 })
	st.goes <- nil
	require.Equal(t, "next", st.step(t, nil))
	require.Equal(t, http.StatusOK, first().StatusCode)
	require.Equal(t, http.StatusOK, next().StatusCode)
	require.NoError(t, stop())
}

// wait waits until the queue is as it should be.
func (st *stage) wait(is func(places, waiting int) bool) {
	st.t.Helper()
	_, lines := st.now()
	require.Eventually(st.t, func() bool { return is(lines[0].queue.length()) }, time.Minute, time.Millisecond)
}

func TestGracefulStop(t *testing.T) {
	st := newStage(t, Options{ReadTimeout: time.Hour}).start()
	address, stop := st.listen()
	idle, asked := dial(t, address, "GET /readyz HTTP/1.1\r\nHost: f2pad\r\n\r\n")
	require.Equal(t, http.StatusOK, asked().StatusCode)
	_, first := dial(t, address, head+"Content-Length: 1\r\n\r\n7")
	<-st.began
	_, second := dial(t, address, head+"Content-Length: 1\r\n\r\n8")
	st.wait(func(places, waiting int) bool { return waiting == 1 })
	coming, third := dial(t, address, head+"Content-Length: 2\r\n\r\n9")
	st.wait(func(places, waiting int) bool { return places == 3 })
	ended := make(chan error)
	go func() { ended <- stop() }()
	require.Eventually(t, func() bool { now, _ := st.now(); return now == stopping }, time.Minute, time.Millisecond)
	_, err := io.WriteString(coming, "9")
	require.NoError(t, err)
	st.wait(func(places, waiting int) bool { return waiting == 2 })
	st.goes <- nil
	st.step(t, nil)
	for _, answer := range []func() *http.Response{first, second, third} {
		require.Equal(t, http.StatusOK, answer().StatusCode)
	}
	require.NoError(t, <-ended)
	_, err = io.ReadAll(idle)
	require.NoError(t, err)
	_, err = net.Dial("tcp", address)
	require.Error(t, err)
	st.end()
}

// Nobody waits for this image any more, but the engine is at it: it may not be closed before it is done.
func TestServeWaitsForTheEngine(t *testing.T) {
	st := newStage(t, Options{})
	e := &busy{puppet: st.puppet}
	m := st.model("m")
	m.Engine = e
	require.NoError(t, st.Start(m))
	address, stop := st.listen()
	gone, _ := dial(t, address, head+"Content-Length: 1\r\n\r\n7")
	<-st.began
	require.NoError(t, gone.Close())
	st.wait(func(places, waiting int) bool { return places == 0 })
	ended := make(chan bool)
	go func() {
		require.NoError(t, stop())
		ended <- e.scoring.Load()
	}()
	require.Eventually(t, func() bool { now, _ := st.now(); return now == stopping }, time.Minute, time.Millisecond)
	time.Sleep(50 * time.Millisecond) // so that a Serve that does not wait has returned
	st.goes <- nil
	require.False(t, <-ended, "it was still scoring")
}

// busy is a puppet that says whether it is scoring.
type busy struct {
	*puppet
	scoring atomic.Bool
}

func (b *busy) Score(ctx context.Context, items iter.Seq[dataset.Item], emit func(*engine.Result) error) error {
	b.scoring.Store(true)
	defer b.scoring.Store(false)
	return b.puppet.Score(ctx, items, emit)
}

// An answer that says that the image is too large reaches also who sends all of it first.
func TestLargeBodiesHearOfIt(t *testing.T) {
	st := newStage(t, Options{MaxBody: 1 << 20}).start()
	address, stop := st.listen()
	for _, length := range []int{1<<20 + 1, 3 << 20} {
		_, answer := dial(t, address, fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, length, strings.Repeat("1", length)))
		require.Equal(t, http.StatusRequestEntityTooLarge, answer().StatusCode)
	}
	_, answer := dial(t, address, head+"Expect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n")
	require.Equal(t, http.StatusRequestEntityTooLarge, answer().StatusCode, "before it is asked for")
	_, answer = dial(t, address, head+strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 40)+"\r\n")
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, answer().StatusCode)
	require.NoError(t, stop())
}

func TestServeSaysWhatKeepsItFromListening(t *testing.T) {
	st := newStage(t, Options{})
	on, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, on.Close())
	require.Error(t, st.Serve(context.Background(), on))
}
