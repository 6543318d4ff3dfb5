"""What other programs read of a model: its cards, and the GGUF files and Modelfile of llama.cpp and Ollama."""
