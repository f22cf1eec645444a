package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"f2pad.example/engine/imageio"
	"f2pad.example/engine/nd"
	"f2pad.example/engine/region"

	"github.com/stretchr/testify/require"
)

// within runs a test whose clock moves only when all wait.
func within(t *testing.T, o Options, test func(t *testing.T, st *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newStage(t, o)) })
}

func TestAnswer(t *testing.T) {
	within(t, Options{}, func(t *testing.T, st *stage) {
		st.start()
		r := st.post("line%201/part.png&output=mask,map&output=overlay", "8")
		require.Equal(t, "line 1/part.png", st.step(t, nil))
		a := r.answer()
		require.Equal(t, jsonType, r.Header().Get("Content-Type"))
		mask, err := png.Decode(bytes.NewReader(a.Mask))
		require.NoError(t, err)
		require.Equal(t, 6, mask.Bounds().Dx())
		gray, _, _, _ := mask.At(1, 1).RGBA()
		require.EqualValues(t, 0xffff, gray)
		over, err := imageio.DecodeBytes("", a.Overlay, imageio.Limits{MinSide: 1})
		require.NoError(t, err)
		require.False(t, over.IsGrey(), "heat")
		path := filepath.Join(t.TempDir(), "map.tiff")
		require.NoError(t, os.WriteFile(path, a.Map, 0o666))
		m, err := imageio.ReadMap(path)
		require.NoError(t, err)
		require.EqualValues(t, 8, nd.Data(m)[7])
		a.Mask, a.Map, a.Overlay = nil, nil, nil
		threshold := 4.
		require.Equal(t, Answer{
			Image: "line 1/part.png", Bytes: 1, SHA256: "2c624232cdd221771294dfbb310aca000a0df6ac8b66b696d90ef06fdefb64a3", Width: 6, Height: 4,
			Model: "m", ModelSHA256: "5d1c", Version: "v1", ImageScore: 8, Threshold: 5, Anomalous: true, Refine: "f2pad",
			PixelThreshold: &threshold, Regions: []region.Region{{X: 1, Y: 1, Width: 2, Height: 1, Area: 2, Peak: 8, PeakX: 1, PeakY: 1, Mean: 8}},
			Executor: st.Executor(), Device: "cpu", Seconds: 0.5, Batch: 1, Warnings: []string{"is a puppet's", "is small"},
		}, a)

		r = st.post("normal", "4.5")
		st.step(t, nil)
		a = r.answer()
		require.False(t, a.Anomalous)
		require.Empty(t, a.Regions, "the map exceeds its threshold, but the image is called normal")
		require.Contains(t, r.Body.String(), `"regions":[]`)
		require.Contains(t, r.Body.String(), `"mask":null,"map":null,"overlay":null`)
		entries := st.entries()
		require.Equal(t, 4.5, *entries[1].ImageScore)
		require.False(t, *entries[1].Anomalous)
		require.Equal(t, "m", entries[1].Model)
		require.Equal(t, 1, entries[1].Batch)
		require.Equal(t, 2, entries[1].Bytes+entries[0].Bytes-2)
		require.EqualValues(t, 1, st.counter(`f2pad_images_total{model="m",result="anomalous"}`))
		require.EqualValues(t, 1, st.counter(`f2pad_images_total{model="m",result="normal"}`))
		require.EqualValues(t, 2, st.counter(`f2pad_requests_total{code="200",path="/v1/score"}`))
		st.end()
	})
}

// As many batches are scored at once as the engine has places.
func TestABatchInEachPlace(t *testing.T) {
	within(t, Options{Batch: 1}, func(t *testing.T, st *stage) {
		st.places = 2
		st.start()
		all := []*reply{st.post("a", "1"), st.post("b", "2"), st.post("c", "3")}
		synctest.Wait()
		began := []string{<-st.began, <-st.began}
		synctest.Wait()
		select {
		case name := <-st.began:
			t.Fatalf("%s is scored beside %v", name, began)
		default:
		}
		st.goes <- nil
		began = append(began, <-st.began)
		st.goes <- nil
		st.goes <- nil
		require.ElementsMatch(t, []string{"a", "b", "c"}, began)
		for i, r := range all {
			require.EqualValues(t, i+1, r.answer().ImageScore)
		}
		require.EqualValues(t, 3, st.counter(`f2pad_device_images_total{device="cpu",model="m"}`))
		st.end()
	})
}

func TestOneOutputByItself(t *testing.T) {
	within(t, Options{}, func(t *testing.T, st *stage) {
		st.start()
		for accept, want := range map[string][2]string{
			"image/png": {"mask", "image/png"}, "image/*": {"overlay", "image/png"}, "image/tiff, application/json;q=0.5": {"map", "image/tiff"},
			"*/*": {"map", jsonType}, "image/png;q=0.1, */*": {"mask", jsonType}, "image/png, application/json": {"mask", jsonType},
		} {
			req := httptest.NewRequest(http.MethodPost, "/v1/models/m/score?output="+want[0], strings.NewReader("8"))
			req.Header.Set("Accept", accept)
			r := st.send(req)
			require.Equal(t, unnamed, st.step(t, nil))
			r.is(http.StatusOK)
			require.Equal(t, want[1], r.Header().Get("Content-Type"), accept)
			require.Equal(t, fmt.Sprint(r.Body.Len()), r.Header().Get("Content-Length"))
			if want[1] == jsonType {
				a := r.answer()
				require.NotEmpty(t, append(a.Mask, a.Map...))
				continue
			}
			require.Equal(t, []string{"8", "5", "true", "5d1c"}, []string{r.Header().Get("F2PAD-Image-Score"), r.Header().Get("F2PAD-Threshold"),
				r.Header().Get("F2PAD-Anomalous"), r.Header().Get("F2PAD-Model-SHA256")})
			if want[0] == "mask" {
				_, err := png.Decode(r.Body)
				require.NoError(t, err)
			}
		}
		st.end()
	})
}

func TestWaysToSendAnImage(t *testing.T) {
	within(t, Options{}, func(t *testing.T, st *stage) {
		st.start()
		body, media := form(t, map[string][2]string{"line": {"", "7"}, "photo": {"dir/part.png", "3"}}, "line", "photo")
		req := httptest.NewRequest(http.MethodPost, "/v1/score", body)
		req.Header.Set("Content-Type", media)
		r := st.send(req)
		require.Equal(t, "part.png", st.step(t, nil))
		require.Equal(t, 3., r.answer().ImageScore)

		for _, media := range []string{"image/jpg", "IMAGE/PNG", bytesType, "application/x-www-form-urlencoded"} {
			req = httptest.NewRequest(http.MethodPost, "/v1/score", strings.NewReader("2"))
			req.Header.Set("Content-Type", media)
			r = st.send(req)
			st.step(t, nil)
			require.Equal(t, 2., r.answer().ImageScore)
		}

		body, media = form(t, map[string][2]string{"image": {"", "6"}}, "image")
		req = httptest.NewRequest(http.MethodPost, "/v1/score?name=given", body)
		req.Header.Set("Content-Type", media)
		r = st.send(req)
		require.Equal(t, "given", st.step(t, nil))
		require.Equal(t, 6., r.answer().ImageScore)
		st.end()
	})
}

func TestRequestsShareABatch(t *testing.T) {
	within(t, Options{Batch: 3}, func(t *testing.T, st *stage) {
		st.start()
		first := st.post("a", "1")
		require.Equal(t, "a", <-st.began, "who comes alone is not kept waiting")
		var rest []*reply
		for i := range 5 {
			rest = append(rest, st.post(fmt.Sprint("b", i), fmt.Sprint(i)))
			synctest.Wait()
			time.Sleep(time.Second)
		}
		st.goes <- nil
		require.Equal(t, 1, first.answer().Batch)
		require.Equal(t, "b0 b1 b2", st.step(t, nil))
		require.Equal(t, "b3 b4", st.step(t, nil))
		for i, r := range rest {
			a := r.answer()
			require.Equal(t, float64(i), a.ImageScore, "each has its own")
			require.Equal(t, []int{3, 3, 3, 2, 2}[i], a.Batch)
			require.Equal(t, []float64{5, 4, 3, 2, 1}[i], a.QueueSeconds)
		}
		require.EqualValues(t, 3, st.counter(`f2pad_batch_images_count{model="m"}`))
		require.EqualValues(t, 6, st.counter(`f2pad_batch_images_sum{model="m"}`))
		require.EqualValues(t, 15, st.counter(`f2pad_queue_seconds_sum{model="m"}`))
		st.end()
	})
}

// What is accepted is answered, what is beyond is refused at once, and exactly that.
func TestBackPressure(t *testing.T) {
	within(t, Options{Batch: 2, Queue: 5}, func(t *testing.T, st *stage) {
		st.start()
		var accepted, beyond []*reply
		for i := range 5 {
			accepted = append(accepted, st.post(fmt.Sprint(i), "1"))
			synctest.Wait()
		}
		for range 7 {
			beyond = append(beyond, st.post("beyond", "1"))
		}
		for _, r := range beyond {
			code, _ := r.refused(http.StatusTooManyRequests)
			require.Equal(t, "queue_full", code)
		}
		require.EqualValues(t, 5, st.counter(`f2pad_accepted_requests{model="m"}`))
		require.EqualValues(t, 5, st.counter(`f2pad_accepted_requests_limit{model="m"}`))
		require.Equal(t, "0", st.step(t, nil))
		accepted[0].answer()
		synctest.Wait()
		more := st.post("5", "1")
		require.Equal(t, "1 2", st.step(t, nil))
		require.Equal(t, "3 4", st.step(t, nil))
		require.Equal(t, "5", st.step(t, nil))
		for _, r := range append(accepted, more) {
			r.answer()
		}
		synctest.Wait()
		require.EqualValues(t, 0, st.counter(`f2pad_accepted_requests{model="m"}`))
		require.EqualValues(t, 6, st.counter(`f2pad_requests_total{code="200",path="/v1/score"}`))
		require.EqualValues(t, 7, st.counter(`f2pad_requests_total{code="429",path="/v1/score"}`))
		st.end()
	})
}

// In how many seconds to try again goes by how long images take of late.
func TestRetryAfterGoesByThePace(t *testing.T) {
	within(t, Options{Batch: 1, Queue: 2, Timeout: time.Hour}, func(t *testing.T, st *stage) {
		st.start()
		st.post("slow", "1")
		<-st.began
		time.Sleep(10 * time.Second)
		st.goes <- nil
		synctest.Wait()
		st.post("a", "1")
		st.post("b", "1")
		<-st.began
		synctest.Wait()
		r := st.post("c", "1").is(http.StatusTooManyRequests)
		require.Equal(t, "20", r.Header().Get("Retry-After"), "two images of ten seconds")
		st.goes <- nil
		st.step(t, nil)
		st.end()
	})
}

func TestMemoryOfBodiesIsBounded(t *testing.T) {
	within(t, Options{MaxBody: 10, Bodies: 10}, func(t *testing.T, st *stage) {
		st.start()
		one, more := io.Pipe()
		req := httptest.NewRequest(http.MethodPost, "/v1/score?name=long", one)
		req.ContentLength = 8
		long := st.send(req)
		synctest.Wait()
		code, _ := st.post("b", "123").refused(http.StatusTooManyRequests)
		require.Equal(t, "memory_full", code)
		require.EqualValues(t, 8, st.counter("f2pad_body_bytes"))
		short := st.post("c", "12")
		require.Equal(t, "c", st.step(t, nil))
		short.answer()
		_, err := more.Write([]byte("3"))
		require.NoError(t, err)
		more.Close()
		require.Equal(t, "long", st.step(t, nil))
		long.answer()
		req = httptest.NewRequest(http.MethodPost, "/v1/score?name=chunked", struct{ io.Reader }{strings.NewReader("1")})
		req.ContentLength = -1
		chunked := st.send(req)
		require.Equal(t, "chunked", <-st.began)
		require.EqualValues(t, 0, st.counter("f2pad_body_bytes"), "it is decoded")
		st.goes <- nil
		chunked.answer()
		st.end()
	})
}

func TestWhoGoesGivesUpItsPlace(t *testing.T) {
	within(t, Options{Queue: 3}, func(t *testing.T, st *stage) {
		st.start()
		first := st.post("a", "1")
		<-st.began
		ctx, gone := context.WithCancel(context.Background())
		left := st.send(httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/score?name=b", strings.NewReader("1")))
		synctest.Wait()
		stays := st.post("c", "1")
		synctest.Wait()
		st.post("d", "1").refused(http.StatusTooManyRequests)
		gone()
		<-left.done
		require.Zero(t, left.Body.Len())
		last := st.post("e", "1")
		synctest.Wait()
		st.goes <- nil
		require.Equal(t, "c e", st.step(t, nil), "who is gone is not scored")
		first.answer()
		stays.answer()
		last.answer()
		require.EqualValues(t, 1, st.counter(`f2pad_requests_total{code="499",path="/v1/score"}`))
		require.Equal(t, statusGone, st.entries()[1].Status)
		st.end()
	})
}

// One who goes while he is scored leaves the others alone.
func TestWhoGoesWhileItIsScored(t *testing.T) {
	within(t, Options{}, func(t *testing.T, st *stage) {
		st.start()
		ctx, gone := context.WithCancel(context.Background())
		left := st.send(httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/score?name=b", strings.NewReader("1")))
		<-st.began
		gone()
		<-left.done
		st.goes <- nil
		next := st.post("c", "1")
		st.step(t, nil)
		next.answer()
		st.end()
	})
}

func TestTimeout(t *testing.T) {
	within(t, Options{Timeout: 3 * time.Second}, func(t *testing.T, st *stage) {
		st.start()
		began := time.Now()
		scored := st.post("a", "1")
		<-st.began
		waits := st.post("b", "1")
		for _, r := range []*reply{scored, waits} {
			code, text := r.refused(http.StatusServiceUnavailable)
			require.Equal(t, "timeout", code)
			require.Regexp(t, "^[ab]: not scored within 3s$", text)
		}
		require.Equal(t, 3*time.Second, time.Since(began))
		synctest.Wait()
		require.EqualValues(t, 0, st.counter(`f2pad_accepted_requests{model="m"}`))
		st.goes <- nil
		next := st.post("c", "1")
		require.Equal(t, "c", st.step(t, nil), "who was told that it is not scored is not")
		next.answer()
		st.end()
	})
}

func TestStartAndStop(t *testing.T) {
	within(t, Options{}, func(t *testing.T, st *stage) {
		code, _ := st.post("early", "1").refused(http.StatusServiceUnavailable)
		require.Equal(t, "starting", code)
		st.get("/readyz").is(http.StatusServiceUnavailable)
		st.get("/healthz").is(http.StatusOK)
		require.EqualValues(t, 0, st.counter("f2pad_ready"))
		require.Equal(t, `{"models":[]}`+"\n", st.get("/v1/models").is(http.StatusOK).Body.String())
		st.start()
		st.get("/readyz").is(http.StatusOK)
		require.EqualValues(t, 1, st.counter("f2pad_ready"))
		require.ErrorContains(t, st.Start(st.model("other")), "the server is ready")

		scored := st.post("scored", "1")
		require.Equal(t, "scored", <-st.began)
		waits := st.post("waits", "1")
		synctest.Wait()
		one, more := io.Pipe()
		coming := st.send(httptest.NewRequest(http.MethodPost, "/v1/score?name=coming", one))
		synctest.Wait()

		short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, st.Stop(short), context.DeadlineExceeded)
		stopped := make(chan error, 1)
		go func() { stopped <- st.Stop(context.Background()) }()
		synctest.Wait()
		code, _ = st.post("late", "1").refused(http.StatusServiceUnavailable)
		require.Equal(t, "stopping", code)
		st.get("/readyz").is(http.StatusServiceUnavailable)
		require.EqualValues(t, 0, st.counter("f2pad_ready"))
		_, err := more.Write([]byte("6"))
		require.NoError(t, err)
		more.Close()
		synctest.Wait()
		st.goes <- nil
		require.Equal(t, "waits coming", st.step(t, nil), "who was accepted is answered")
		scored.answer()
		waits.answer()
		require.True(t, coming.answer().Anomalous)
		require.NoError(t, <-stopped)
		require.ErrorContains(t, st.Start(st.model("m")), "the server is stopping")
		st.end()
	})
}

// held is a client that does not take its answer until it is let go.
type held struct {
	http.ResponseWriter
	let chan struct{}
}

func (h held) Write(p []byte) (int, error) {
	<-h.let
	return h.ResponseWriter.Write(p)
}

// Who was scored has not been answered until the answer is written: Stop waits for that, and the place stays taken.
func TestStopWaitsForAnswers(t *testing.T) {
	within(t, Options{Queue: 1}, func(t *testing.T, st *stage) {
		st.start()
		slow := held{httptest.NewRecorder(), make(chan struct{})}
		go st.ServeHTTP(slow, httptest.NewRequest(http.MethodPost, "/v1/score", strings.NewReader("1")))
		st.step(t, nil)
		synctest.Wait()
		st.post("b", "1").refused(http.StatusTooManyRequests)
		stopped := make(chan error, 1)
		go func() { stopped <- st.Stop(context.Background()) }()
		synctest.Wait()
		require.Empty(t, stopped)
		close(slow.let)
		require.NoError(t, <-stopped)
	})
}

func TestStopBeforeStart(t *testing.T) {
	within(t, Options{}, func(t *testing.T, st *stage) {
		st.end()
		code, _ := st.post("a", "1").refused(http.StatusServiceUnavailable)
		require.Equal(t, "stopping", code)
	})
}

func TestModelNames(t *testing.T) {
	st := newStage(t, Options{})
	require.ErrorContains(t, st.Start(), "no model")
	for _, name := range []string{"", "a/b", ".", "..", "a b", "ä", strings.Repeat("a", 101)} {
		require.ErrorContains(t, st.Start(st.model(name)), "its name is to be", name)
	}
	require.ErrorContains(t, st.Start(st.model("a"), st.model("a")), `two models are called "a"`)
}

// Each has a queue of its own.
func TestSeveralModels(t *testing.T) {
	within(t, Options{Queue: 1}, func(t *testing.T, st *stage) {
		other := newPuppet()
		second := st.model("n")
		second.Engine, second.Kind = other, ""
		require.NoError(t, st.Start(st.model("m"), second))
		code, text := st.post("a", "1").refused(http.StatusNotFound)
		require.Equal(t, "no_model", code)
		require.Contains(t, text, "m, n")
		send := func(model string) *reply {
			return st.send(httptest.NewRequest(http.MethodPost, "/v1/models/"+model+"/score", strings.NewReader("6")))
		}
		_, text = send("o").refused(http.StatusNotFound)
		require.Equal(t, `there is no model "o": there is m, n`, text)
		m := send("m")
		<-st.began
		synctest.Wait()
		n := send("n")
		require.Equal(t, unnamed, other.step(t, nil), "one waits not for the other")
		a := n.answer()
		require.Equal(t, "n", a.Model)
		require.Nil(t, a.Regions, "it makes no maps")
		require.Nil(t, a.PixelThreshold)
		require.Equal(t, 0.25, a.Seconds)
		send("n?output=mask").is(http.StatusNotFound)
		r := st.send(httptest.NewRequest(http.MethodPost, "/v1/models/n/score?output=mask", strings.NewReader("6")))
		code, _ = r.refused(http.StatusBadRequest)
		require.Equal(t, "bad_query", code)
		require.JSONEq(t, `{"models":[
			{"model":"m","model_sha256":"5d1c","method":"padim","backbone":"scatter","refine":"f2pad","outputs":["mask","map","overlay"],
			 "executor":{"executor":"puppet","device":"","precision":"","version":""},"device":{"device":"cpu"},"accepted":1,"queue":1},
			{"model":"n","model_sha256":"5d1c","method":"padim","backbone":"scatter","refine":"none","outputs":[],
			 "executor":{"executor":"puppet","device":"","precision":"","version":""},"device":{"device":"cpu"},"accepted":0,"queue":1}]}`,
			st.get("/v1/models").is(http.StatusOK).Body.String())
		st.goes <- nil
		require.Equal(t, "m", m.answer().Model)
		st.end()
	})
}

// What ends a batch is told to all in it, and to who runs the server; the next batch is scored.
func TestEngineFails(t *testing.T) {
	for _, fails := range []error{errors.New("the device is lost"), errPanic, errSwap, errSilent} {
		within(t, Options{}, func(t *testing.T, st *stage) {
			st.start()
			first := st.post("first", "1")
			<-st.began
			a := st.post("a", "1")
			synctest.Wait()
			b := st.post("b", "1")
			synctest.Wait()
			st.goes <- nil
			first.answer()
			st.get("/healthz").is(http.StatusOK)
			require.Equal(t, "a b", st.step(t, fails))
			for _, r := range []*reply{a, b} {
				code, text := r.refused(http.StatusInternalServerError)
				require.Equal(t, "internal", code)
				require.NotContains(t, text, "lost", "what is inside stays inside")
			}
			synctest.Wait()
			require.Len(t, st.faults, 1)
			require.Contains(t, st.faults[0], "model m: ")
			st.get("/healthz").is(http.StatusServiceUnavailable)
			require.EqualValues(t, 2, st.counter(`f2pad_images_total{model="m",result="failed"}`))
			next := st.post("c", "1")
			st.step(t, nil)
			next.answer()
			synctest.Wait()
			st.get("/healthz").is(http.StatusOK)
			st.end()
		})
	}
}

// An image that cannot be scored fails alone.
func TestImagesThatCannotBeScored(t *testing.T) {
	within(t, Options{}, func(t *testing.T, st *stage) {
		st.start()
		first := st.post("first", "1")
		<-st.began
		type want struct {
			status int
			code   string
		}
		all := map[string]want{
			"!large": {http.StatusRequestEntityTooLarge, "too_large"}, "!format": {http.StatusUnsupportedMediaType, "unsupported"},
			"!variant": {http.StatusUnsupportedMediaType, "unsupported"}, "!corrupt": {http.StatusUnprocessableEntity, "corrupt"},
			"!small": {http.StatusUnprocessableEntity, "unprocessable"}, "!other": {http.StatusUnprocessableEntity, "unprocessable"},
		}
		replies := map[string]*reply{}
		for content := range all {
			replies[content] = st.post("part.png", content)
		}
		good := st.post("good", "6")
		synctest.Wait()
		st.goes <- nil
		first.answer()
		require.Len(t, strings.Fields(st.step(t, nil)), 7)
		require.True(t, good.answer().Anomalous)
		for content, want := range all {
			code, text := replies[content].refused(want.status)
			require.Equal(t, want.code, code, content)
			require.True(t, strings.HasPrefix(text, "part.png: "), text)
		}
		synctest.Wait()
		require.EqualValues(t, 6, st.counter(`f2pad_images_total{model="m",result="failed"}`))
		st.get("/healthz").is(http.StatusOK)
		st.end()
	})
}

func TestRequestsThatAreRefused(t *testing.T) {
	within(t, Options{MaxBody: 100}, func(t *testing.T, st *stage) {
		st.start()
		parts := map[string][2]string{"image": {"a.png", "1"}, "second": {"b.png", "2"}, "text": {"", "3"}}
		two, media := form(t, parts, "image", "second")
		none, _ := form(t, parts, "text")
		short := io.MultiReader(strings.NewReader("1"), failing{io.ErrUnexpectedEOF})
		slow := failing{os.ErrDeadlineExceeded}
		endless := io.LimitReader(zeros{}, 1<<40)
		const score = "/v1/score"
		for name, c := range map[string]struct {
			method, path string
			body         io.Reader
			headers      map[string]string
			status       int
			code         string
		}{
			"path":              {"GET", "/", nil, nil, 404, "not_found"},
			"path below":        {"POST", score + "/", nil, nil, 404, "not_found"},
			"no model":          {"POST", "/v1/models//score", nil, nil, 404, "not_found"},
			"dots":              {"POST", "/v1/models/../score", nil, nil, 404, "no_model"},
			"method":            {"GET", score, nil, nil, 405, "method_not_allowed"},
			"put":               {"PUT", score, strings.NewReader("1"), nil, 405, "method_not_allowed"},
			"post":              {"POST", "/healthz", nil, nil, 405, "method_not_allowed"},
			"nothing":           {"POST", score, strings.NewReader(""), nil, 400, "no_image"},
			"parameter":         {"POST", score + "?outputs=mask", strings.NewReader("1"), nil, 400, "bad_query"},
			"output":            {"POST", score + "?output=mask,heat", strings.NewReader("1"), nil, 400, "bad_query"},
			"no output":         {"POST", score + "?output=", strings.NewReader("1"), nil, 400, "bad_query"},
			"query":             {"POST", score + "?name=%zz", strings.NewReader("1"), nil, 400, "bad_query"},
			"name":              {"POST", score + "?name=%ff", strings.NewReader("1"), nil, 400, "bad_query"},
			"long name":         {"POST", score + "?name=" + strings.Repeat("a", 1025), strings.NewReader("1"), nil, 400, "bad_query"},
			"accept":            {"POST", score, strings.NewReader("1"), map[string]string{"Accept": "text/html"}, 406, "not_acceptable"},
			"accept, not asked": {"POST", score, strings.NewReader("1"), map[string]string{"Accept": "image/png"}, 406, "not_acceptable"},
			"accept, other":     {"POST", score + "?output=map", strings.NewReader("1"), map[string]string{"Accept": "image/png"}, 406, "not_acceptable"},
			"accept, two":       {"POST", score + "?output=mask,overlay", strings.NewReader("1"), map[string]string{"Accept": "image/png"}, 406, "not_acceptable"},
			"accept, q=0":       {"POST", score, strings.NewReader("1"), map[string]string{"Accept": "*/*, application/json;q=0"}, 406, "not_acceptable"},
			"type":              {"POST", score, strings.NewReader("1"), map[string]string{"Content-Type": "text/html"}, 415, "unsupported"},
			"malformed type":    {"POST", score, strings.NewReader("1"), map[string]string{"Content-Type": "image/"}, 415, "unsupported"},
			"encoding":          {"POST", score, strings.NewReader("1"), map[string]string{"Content-Encoding": "gzip"}, 415, "unsupported"},
			"long":              {"POST", score, strings.NewReader(strings.Repeat("1", 101)), nil, 413, "too_large"},
			"endless":           {"POST", score, endless, nil, 413, "too_large"},
			"cut":               {"POST", score, short, nil, 400, "bad_body"},
			"slow":              {"POST", score, slow, nil, 408, "slow"},
			"no boundary":       {"POST", score, strings.NewReader("--b"), map[string]string{"Content-Type": formType}, 400, "bad_form"},
			"long form":         {"POST", score, two, map[string]string{"Content-Type": media}, 413, "too_large"},
			"no image":          {"POST", score, none, map[string]string{"Content-Type": media}, 400, "bad_form"},
			"no form":           {"POST", score, strings.NewReader("1"), map[string]string{"Content-Type": media}, 400, "bad_form"},
		} {
			req := httptest.NewRequest(c.method, c.path, c.body)
			for k, v := range c.headers {
				req.Header.Set(k, v)
			}
			code, text := st.send(req).refused(c.status)
			require.Equal(t, c.code, code, "%s: %s", name, text)
		}
		require.EqualValues(t, 0, st.counter(`f2pad_accepted_requests{model="m"}`))
		require.EqualValues(t, -1, st.counter(`f2pad_batch_images_count{model="m"}`), "nothing came to the engine")
		r := st.send(httptest.NewRequest("DELETE", "/v1/models", nil))
		r.refused(http.StatusMethodNotAllowed)
		require.Equal(t, "GET", r.Header().Get("Allow"))
		st.end()
	})
}

func TestFormsThatAreRefused(t *testing.T) {
	within(t, Options{}, func(t *testing.T, st *stage) {
		st.start()
		parts := map[string][2]string{"image": {"a.png", "1"}, "second": {"b.png", "2"}, "text": {"", "3"}, "bad": {"a\xff", "4"}}
		many := make([]string, mostParts+1)
		for i := range many {
			many[i] = "text"
		}
		for _, c := range []struct {
			order []string
			text  string
		}{
			{[]string{"image", "second"}, "the form: it has more than one image"},
			{[]string{"text"}, `the form: it has no part with a filename, and none called "image"`},
			{many, "the form: it has more than 16 parts"},
			{[]string{"bad"}, "the form: the image's name is not UTF-8"},
		} {
			body, media := form(t, parts, c.order...)
			text, err := io.ReadAll(body)
			require.NoError(t, err)
			text = bytes.ReplaceAll(text, []byte(`a\xff`), []byte("a\xff"))
			req := httptest.NewRequest("POST", "/v1/score", bytes.NewReader(text))
			req.Header.Set("Content-Type", media)
			_, is := st.send(req).refused(http.StatusBadRequest)
			require.Equal(t, c.text, is)
		}
		req := httptest.NewRequest("POST", "/v1/score", strings.NewReader(
			"--b\r\nContent-Disposition: form-data; name=image\r\nContent-Transfer-Encoding: base64\r\n\r\nMQ==\r\n--b--\r\n"))
		req.Header.Set("Content-Type", formType+"; boundary=b")
		_, is := st.send(req).refused(http.StatusBadRequest)
		require.Contains(t, is, "send the file as it is")
		st.end()
	})
}

// failing is a body that ends in an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What a body is said to hold is not allocated before it comes.
func TestLengthIsNotBelieved(t *testing.T) {
	data, err := readAll(strings.NewReader("1"), 1<<40)
	require.NoError(t, err)
	require.Equal(t, "1", string(data))
	require.Less(t, cap(data), 2<<20)
}

// A body that nobody wants is read all the same, so that who sends it reads the answer, but not for ever; and not where the client
// waits to be asked for it.
func TestWhatIsRefusedIsReadToItsEnd(t *testing.T) {
	within(t, Options{MaxBody: 100}, func(t *testing.T, st *stage) {
		st.start()
		for _, c := range []struct {
			length int
			expect string
			read   int
		}{{300, "", 300}, {1000, "", 400}, {300, "100-continue", 0}} {
			body := &counting{r: strings.NewReader(strings.Repeat("1", c.length))}
			req := httptest.NewRequest("POST", "/v1/score", body)
			req.ContentLength = int64(c.length)
			if c.expect != "" {
				req.Header.Set("Expect", c.expect)
			}
			st.send(req).refused(http.StatusRequestEntityTooLarge)
			require.Equal(t, c.read, body.n)
		}
		st.end()
	})
}

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestProbesAreNotLogged(t *testing.T) {
	within(t, Options{}, func(t *testing.T, st *stage) {
		st.get("/healthz").is(http.StatusOK)
		st.get("/metrics").is(http.StatusOK)
		require.Empty(t, st.entries())
		st.get("/readyz").is(http.StatusServiceUnavailable)
		st.get("/nothing").is(http.StatusNotFound)
		require.Len(t, st.entries(), 2)
		require.Equal(t, "/readyz", st.entries()[0].Path)
	})
}
