# What is made from the contracts: the Python code, the descriptor set, and the comparison with the latest release.
# The top Makefile includes this; `make -f protos/generate.mk generate` works too, from the top of the repository.

# The programs of the virtual environment: python with grpcio-tools, protoc-gen-mypy_grpc and buf.
TOOLS ?= .venv/bin
# Where to write: the top of a source tree.
OUT ?= .

CONTRACTS := $(sort $(wildcard protos/*/v1/*.proto))
# Only a file with a service gets gRPC code: for any other it would be an empty module.
SERVICES := $(shell grep -lE '^service ' $(CONTRACTS))
# The details of our errors are Google's messages: with them in the descriptor set, grpcurl can print them.
COMMON = $(shell "$(TOOLS)/python" -c 'import google.rpc.code_pb2 as found, pathlib; print(pathlib.Path(found.__file__).parents[2])')
PROTOC := "$(TOOLS)/python" -m grpc_tools.protoc -I protos

.PHONY: generate breaking

generate: ## Generate the code and the descriptor set (keybridge/keybridge.binpb) from protos/
	@mkdir -p "$(OUT)/keybridge"
	$(PROTOC) --python_out="$(OUT)" --pyi_out="$(OUT)" $(CONTRACTS)
	$(PROTOC) -I "$(COMMON)" --include_imports --include_source_info \
	    --descriptor_set_out="$(OUT)/keybridge/keybridge.binpb" $(CONTRACTS) google/rpc/error_details.proto
	$(PROTOC) --grpc_python_out="$(OUT)" --mypy_grpc_out="$(OUT)" \
	    --plugin=protoc-gen-mypy_grpc="$(TOOLS)/protoc-gen-mypy_grpc" $(SERVICES)

# versionsort.suffix puts v1.0.0-rc1 before v1.0.0; the common directory is the repository itself in a worktree too.
breaking: ## Compare the contracts with those of the latest release tag
	@tag=$$(git -c versionsort.suffix=- tag --list 'v*' --sort=-version:refname | head -n 1); \
	if [ -z "$$tag" ]; then \
	    echo "There is no release tag (v*) yet, so there is nothing that the contracts could break."; \
	else \
	    "$(TOOLS)/buf" breaking --against "$$(git rev-parse --path-format=absolute --git-common-dir)#tag=$$tag"; \
	fi
