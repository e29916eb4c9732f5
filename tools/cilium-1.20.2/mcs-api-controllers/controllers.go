// Package controllers stands for the module of this name: cilium takes one constant of it.
package controllers

// DerivedServiceAnnotation names, on a ServiceImport, the Service that was made for it.
const DerivedServiceAnnotation = "multicluster.kubernetes.io/derived-service"
