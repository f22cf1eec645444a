# How accurate the maps are: every method, backbone and size on every data set, and out/accuracy.md, a page as in
# bench/results, with out/accuracy.json and contact sheets in out/accuracy. ACCURACY_DATA is a folder of data sets in MVTec
# AD's layout. It goes on where it was stopped. ACCURACY is for what bench/accuracy takes: ACCURACY="-run tile/padim",
# ACCURACY="-limit 4", ACCURACY="-list".
.PHONY: accuracy
export ACCURACY_DATA

accuracy: build
	$(GO) run ./bench/accuracy -program $(BIN) $(ACCURACY)
