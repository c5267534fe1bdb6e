[ -e /usr/share/orthanc/plugins/libOrthancPython.so ] || missing="$missing orthanc-python"
