// Command hello answers every request with a sentence: a container that starts at once and costs next to nothing,
// for measuring what lies between it and its clients. It listens on PORT, or on 8080.
package main

import (
	"log"
	"net/http"
	"os"
)

func main() {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	answer := []byte("hello\n")
	log.Fatal(http.ListenAndServe(":"+port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(answer)
	})))
}
