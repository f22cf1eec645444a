package serve

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"f2pad.example/engine/region"

	"github.com/stretchr/testify/require"
)

// The page is of the routes that there are, and of no others; that it has every answer is checked wherever a test gets one (described).
func TestAPIHasEveryRoute(t *testing.T) {
	d, err := readAPI()
	require.NoError(t, err)
	var is, want []string
	for path, operations := range d.Paths {
		for method := range operations {
			is = append(is, strings.ToUpper(method)+" "+path)
		}
	}
	for _, r := range New(Options{}).routes {
		want = append(want, r.method+" "+r.path)
	}
	require.ElementsMatch(t, want, is)
}

func TestAPIIsServed(t *testing.T) {
	st := newStage(t, Options{})
	r := st.get("/openapi.json").is(http.StatusOK)
	require.Equal(t, api, r.Body.Bytes())
	r = st.send(mustRequest(t, http.MethodHead, "/openapi.json"))
	<-r.done
	require.Equal(t, http.StatusOK, r.Code)
}

func mustRequest(t *testing.T, method, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, path, nil)
	require.NoError(t, err)
	return r
}

// Its schemas have the fields that answers have, and every reference leads somewhere.
func TestAPIHasEveryField(t *testing.T) {
	d, err := readAPI()
	require.NoError(t, err)
	for name, v := range map[string]any{
		"Answer": Answer{}, "Region": region.Region{}, "Error": fault{}, "Models": modelList{}, "Model": modelEntry{}, "Condition": condition{},
	} {
		schema := d.Components.Schemas[name]
		var all, required []string
		for i := range reflect.TypeOf(v).NumField() {
			field, options, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
			all = append(all, field)
			if options != "omitempty" {
				required = append(required, field)
			}
		}
		require.ElementsMatch(t, all, slices.Collect(maps.Keys(schema.Properties)), name)
		require.ElementsMatch(t, required, schema.Required, name)
	}
	var whole map[string]any
	require.NoError(t, json.Unmarshal(api, &whole))
	refs := regexp.MustCompile(`"\$ref": "#/([^"]*)"`).FindAllSubmatch(api, -1)
	require.Greater(t, len(refs), 20)
	for _, ref := range refs {
		at := any(whole)
		for key := range strings.SplitSeq(string(ref[1]), "/") {
			at = at.(map[string]any)[key]
			require.NotNil(t, at, "%s", ref[1])
		}
	}
}
