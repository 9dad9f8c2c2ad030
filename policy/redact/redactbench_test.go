package redact

import (
	"testing"
)

func BenchmarkRedactResult(b *testing.B) {
	r := redaction(b, "result:$.ssn")
	doc := []byte(`{"name":"Ann","ssn":"123-45-6789","orders":[{"id":1,"total":12.50},{"id":2,"total":99.99}],"active":true}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Result(doc); err != nil {
			b.Fatal(err)
		}
	}
}
